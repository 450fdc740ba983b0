package networkpolicy

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// podIndex holds the pods that have an address of their own, and the labels of their namespaces.
type podIndex struct {
	pods            []*corev1.Pod
	namespaceLabels map[string]map[string]string
}

func newPodIndex(observed state) *podIndex {
	index := &podIndex{namespaceLabels: map[string]map[string]string{}}
	for _, namespace := range observed.namespaces {
		index.namespaceLabels[namespace.Name] = namespace.Labels
	}
	for _, pod := range observed.pods {
		if hasOwnAddress(pod) {
			index.pods = append(index.pods, pod)
		}
	}
	return index
}

// hasOwnAddress is false for a pod that ended: its status keeps an address that another pod may have by now.
func hasOwnAddress(pod *corev1.Pod) bool {
	ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	return !ended && !pod.Spec.HostNetwork && address(pod).Is4()
}

// address is the zero value for a pod that has none yet.
func address(pod *corev1.Pod) netip.Addr {
	parsed, err := netip.ParseAddr(pod.Status.PodIP)
	if err != nil {
		return netip.Addr{}
	}
	return parsed
}

func hostPrefix(pod *corev1.Pod) netip.Prefix {
	return netip.PrefixFrom(address(pod), 32)
}

// prefixes are the addresses that a rule's peers stand for, sorted and each once.
func (index *podIndex) prefixes(namespace string, peers []networkingv1.NetworkPolicyPeer) []netip.Prefix {
	var result []netip.Prefix
	for _, peer := range peers {
		if peer.IPBlock != nil {
			result = append(result, blockPrefixes(peer.IPBlock)...)
		}
	}
	for _, pod := range index.pods {
		if index.isPeer(pod, namespace, peers) {
			result = append(result, hostPrefix(pod))
		}
	}
	slices.SortFunc(result, netip.Prefix.Compare)
	return slices.Compact(result)
}

// isPeer looks at selectors only. A peer with both selectors wants both; without a namespaceSelector it stays in the
// policy's own namespace.
func (index *podIndex) isPeer(pod *corev1.Pod, namespace string, peers []networkingv1.NetworkPolicyPeer) bool {
	return slices.ContainsFunc(peers, func(peer networkingv1.NetworkPolicyPeer) bool {
		if peer.IPBlock != nil {
			return false
		}
		if peer.NamespaceSelector == nil && pod.Namespace != namespace {
			return false
		}
		if peer.NamespaceSelector != nil &&
			!matches(peer.NamespaceSelector, index.namespaceLabels[pod.Namespace]) {
			return false
		}
		return peer.PodSelector == nil || matches(peer.PodSelector, pod.Labels)
	})
}

// blockPrefixes is the block without its exceptions, as disjoint prefixes. IPv6 blocks are left out.
func blockPrefixes(block *networkingv1.IPBlock) []netip.Prefix {
	whole, err := netip.ParsePrefix(block.CIDR)
	if err != nil || !whole.Addr().Is4() {
		return nil
	}
	remaining := []netip.Prefix{whole.Masked()}
	for _, text := range block.Except {
		except, err := netip.ParsePrefix(text)
		if err != nil {
			continue
		}
		var next []netip.Prefix
		for _, prefix := range remaining {
			next = append(next, subtract(prefix, except.Masked())...)
		}
		remaining = next
	}
	return remaining
}

// subtract halves the prefix until the halves lie outside the exception or inside it.
func subtract(from, except netip.Prefix) []netip.Prefix {
	if !from.Overlaps(except) {
		return []netip.Prefix{from}
	}
	if except.Bits() <= from.Bits() {
		return nil
	}
	lower, upper := halves(from)
	return append(subtract(lower, except), subtract(upper, except)...)
}

func halves(prefix netip.Prefix) (lower, upper netip.Prefix) {
	bits := prefix.Bits()
	octets := prefix.Addr().As4()
	octets[bits/8] |= 1 << (7 - bits%8)
	return netip.PrefixFrom(prefix.Addr(), bits+1), netip.PrefixFrom(netip.AddrFrom4(octets), bits+1)
}
