// Package networkpolicy enforces NetworkPolicies on the pods of one node, with ipset and iptables in the network
// namespace that it runs in. It is a test bed's enforcer: IPv4 only, and a pod is open until its address is known
// to the API server, as with most enforcers that are not part of the CNI plugin.
//
// rules.go and peers.go decide and are pure; render.go turns decisions into text; controller.go and kernel.go do I/O.
package networkpolicy

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// state is what the API server knows.
type state struct {
	pods       []*corev1.Pod
	namespaces []*corev1.Namespace
	policies   []*networkingv1.NetworkPolicy
}

// portRange is what one rule allows: a protocol and, unless first is 0 (every port), an inclusive range of ports.
type portRange struct {
	protocol    corev1.Protocol
	first, last int32
}

// allowance is one accepted kind of traffic. Without peers, nobody; with anyPeer, everybody. Without ports, no port;
// with anyPort, every port of every protocol.
type allowance struct {
	anyPeer bool
	peers   []netip.Prefix
	anyPort bool
	ports   []portRange
}

// isolation is one direction of one pod: everything is dropped but what an allowance lets pass.
type isolation struct {
	pod       netip.Addr
	direction networkingv1.PolicyType
	allowed   []allowance
}

// computeIsolations returns the isolated directions of the node's pods, in the order of their addresses.
func computeIsolations(observed state, node string) []isolation {
	index := newPodIndex(observed)
	var isolations []isolation
	for _, pod := range index.pods {
		if pod.Spec.NodeName != node {
			continue
		}
		for _, direction := range []networkingv1.PolicyType{
			networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress,
		} {
			if isolated, ok := index.isolate(pod, direction, observed.policies); ok {
				isolations = append(isolations, isolated)
			}
		}
	}
	slices.SortFunc(isolations, func(a, b isolation) int {
		return cmp.Or(a.pod.Compare(b.pod), cmp.Compare(a.direction, b.direction))
	})
	return isolations
}

func (index *podIndex) isolate(
	pod *corev1.Pod, direction networkingv1.PolicyType, policies []*networkingv1.NetworkPolicy,
) (isolation, bool) {
	result := isolation{pod: address(pod), direction: direction}
	isolated := false
	for _, policy := range policies {
		if policy.Namespace != pod.Namespace || !hasDirection(policy, direction) ||
			!matches(&policy.Spec.PodSelector, pod.Labels) {
			continue
		}
		isolated = true
		if direction == networkingv1.PolicyTypeIngress {
			for _, rule := range policy.Spec.Ingress {
				result.allowed = append(result.allowed, index.allowIngress(pod, policy.Namespace, rule)...)
			}
		} else {
			for _, rule := range policy.Spec.Egress {
				result.allowed = append(result.allowed, index.allowEgress(policy.Namespace, rule)...)
			}
		}
	}
	return result, isolated
}

// allowIngress resolves named ports on the pod itself.
func (index *podIndex) allowIngress(
	pod *corev1.Pod, namespace string, rule networkingv1.NetworkPolicyIngressRule,
) []allowance {
	allowed := allowance{anyPeer: len(rule.From) == 0, anyPort: len(rule.Ports) == 0}
	allowed.peers = index.prefixes(namespace, rule.From)
	for _, port := range rule.Ports {
		if isNamed(port) {
			allowed.ports = append(allowed.ports, namedPorts(pod, port)...)
		} else {
			allowed.ports = append(allowed.ports, numbered(port))
		}
	}
	return []allowance{allowed}
}

// allowEgress resolves a named port on each peer: pods may number the same name differently, so that each named port
// becomes one allowance a peer. An ipBlock has no named ports.
func (index *podIndex) allowEgress(namespace string, rule networkingv1.NetworkPolicyEgressRule) []allowance {
	allowed := allowance{anyPeer: len(rule.To) == 0, anyPort: len(rule.Ports) == 0}
	allowed.peers = index.prefixes(namespace, rule.To)
	var named []allowance
	for _, port := range rule.Ports {
		if !isNamed(port) {
			allowed.ports = append(allowed.ports, numbered(port))
			continue
		}
		for _, peer := range index.pods {
			if !allowed.anyPeer && !index.isPeer(peer, namespace, rule.To) {
				continue
			}
			if ports := namedPorts(peer, port); len(ports) > 0 {
				named = append(named, allowance{peers: []netip.Prefix{hostPrefix(peer)}, ports: ports})
			}
		}
	}
	return append([]allowance{allowed}, named...)
}

// hasDirection follows the API's default: without policyTypes, Ingress, and Egress where there are egress rules.
func hasDirection(policy *networkingv1.NetworkPolicy, direction networkingv1.PolicyType) bool {
	if len(policy.Spec.PolicyTypes) > 0 {
		return slices.Contains(policy.Spec.PolicyTypes, direction)
	}
	return direction == networkingv1.PolicyTypeIngress || len(policy.Spec.Egress) > 0
}

func isNamed(port networkingv1.NetworkPolicyPort) bool {
	return port.Port != nil && port.Port.StrVal != ""
}

func protocolOf(port networkingv1.NetworkPolicyPort) corev1.Protocol {
	if port.Protocol == nil {
		return corev1.ProtocolTCP
	}
	return *port.Protocol
}

func numbered(port networkingv1.NetworkPolicyPort) portRange {
	result := portRange{protocol: protocolOf(port)}
	if port.Port != nil {
		result.first, result.last = port.Port.IntVal, port.Port.IntVal
		if port.EndPort != nil {
			result.last = *port.EndPort
		}
	}
	return result
}

func namedPorts(pod *corev1.Pod, port networkingv1.NetworkPolicyPort) []portRange {
	var found []portRange
	for _, container := range pod.Spec.Containers {
		for _, offered := range container.Ports {
			protocol := cmp.Or(offered.Protocol, corev1.ProtocolTCP)
			if offered.Name == port.Port.StrVal && protocol == protocolOf(port) {
				found = append(found, portRange{protocol, offered.ContainerPort, offered.ContainerPort})
			}
		}
	}
	return found
}

// matches says no to a selector that cannot be parsed; the API server admits none.
func matches(selector *metav1.LabelSelector, on map[string]string) bool {
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && parsed.Matches(labels.Set(on))
}
