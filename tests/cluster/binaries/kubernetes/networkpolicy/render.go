package networkpolicy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
)

const (
	// namePrefix begins the name of every chain and set of ours, so that old ones are found by name.
	namePrefix = "DSNP-"
	mainChain  = namePrefix + "MAIN"
	// table is one that nobody else filters in: kube-proxy's FORWARD rules in the table filter accept some traffic
	// before later rules see it. Its FORWARD and INPUT hooks lie after DNAT: rules see pods, never ClusterIPs.
	table = "mangle"
)

// program is the whole of what the kernel is to hold.
type program struct {
	// sets are named by their content: a changed set is a new set, so that one iptables-restore switches from the old
	// to the new at once.
	sets   map[string][]netip.Prefix
	chains []string
	rules  []string
}

// compile turns isolations into chains: the main one sends a pod's packets through the chains of its isolated
// directions, and a chain returns what is allowed and drops the rest.
func compile(isolations []isolation) program {
	result := program{sets: map[string][]netip.Prefix{}}
	result.chains = append(result.chains, mainChain)
	result.rules = append(result.rules, "-A "+mainChain+" -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN")
	for _, isolated := range isolations {
		chain, own, peer := chainOf(isolated)
		result.chains = append(result.chains, chain)
		result.rules = append(result.rules, fmt.Sprintf("-A %s %s %s/32 -j %s", mainChain, own, isolated.pod, chain))
		// A pod may always reach itself, also through a Service.
		result.rules = append(result.rules, fmt.Sprintf("-A %s %s %s/32 -j RETURN", chain, peer, isolated.pod))
		for _, allowed := range isolated.allowed {
			result.allow(chain, isolated.direction, allowed)
		}
		result.rules = append(result.rules, "-A "+chain+" -j DROP")
	}
	return result
}

// chainOf names the chain, and the flags of iptables that match the pod and its peer.
func chainOf(isolated isolation) (chain, own, peer string) {
	octets := isolated.pod.As4()
	suffix := hex.EncodeToString(octets[:])
	if isolated.direction == networkingv1.PolicyTypeEgress {
		return namePrefix + "E-" + suffix, "-s", "-d"
	}
	return namePrefix + "I-" + suffix, "-d", "-s"
}

func (p *program) allow(chain string, direction networkingv1.PolicyType, allowed allowance) {
	peers := ""
	switch {
	case allowed.anyPeer:
	case len(allowed.peers) == 0:
		return
	default:
		side := "src"
		if direction == networkingv1.PolicyTypeEgress {
			side = "dst"
		}
		name := setName(allowed.peers)
		p.sets[name] = allowed.peers
		peers = fmt.Sprintf(" -m set --match-set %s %s", name, side)
	}
	if allowed.anyPort {
		p.rules = append(p.rules, "-A "+chain+peers+" -j RETURN")
		return
	}
	for _, ports := range allowed.ports {
		p.rules = append(p.rules, "-A "+chain+peers+portMatch(ports)+" -j RETURN")
	}
}

func portMatch(ports portRange) string {
	protocol := strings.ToLower(string(ports.protocol))
	if ports.first == 0 {
		return " -p " + protocol
	}
	return fmt.Sprintf(" -p %s -m %s --dport %d:%d", protocol, protocol, ports.first, ports.last)
}

// setName stays below the 31 characters of an ipset's name.
func setName(prefixes []netip.Prefix) string {
	digest := sha256.New()
	for _, prefix := range prefixes {
		fmt.Fprintln(digest, prefix)
	}
	return namePrefix + hex.EncodeToString(digest.Sum(nil)[:12])
}

// renderSets is input for `ipset restore`: it makes the sets that are not in existing.
func renderSets(wanted program, existing []string) string {
	var text strings.Builder
	for _, name := range sortedKeys(wanted.sets) {
		if slices.Contains(existing, name) {
			continue
		}
		fmt.Fprintf(&text, "create %s hash:net family inet\n", name)
		for _, prefix := range wanted.sets[name] {
			for _, part := range representable(prefix) {
				fmt.Fprintf(&text, "add %s %s\n", name, part)
			}
		}
	}
	return text.String()
}

// representable splits 0.0.0.0/0, which a set of networks cannot hold.
func representable(prefix netip.Prefix) []netip.Prefix {
	if prefix.Bits() > 0 {
		return []netip.Prefix{prefix}
	}
	lower, upper := halves(prefix)
	return []netip.Prefix{lower, upper}
}

// renderChains is input for `iptables-restore --noflush`: one transaction that hooks the main chain in, fills all
// chains and deletes those of existing that are no longer wanted.
func renderChains(wanted program, existing []string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "*%s\n", table)
	var stale []string
	for _, chain := range existing {
		if !slices.Contains(wanted.chains, chain) {
			stale = append(stale, chain)
		}
	}
	for _, chain := range slices.Concat(wanted.chains, stale) {
		fmt.Fprintf(&text, ":%s - [0:0]\n", chain)
	}
	for _, hook := range []string{"FORWARD", "INPUT"} {
		fmt.Fprintf(&text, "-F %s\n-A %s -j %s\n", hook, hook, mainChain)
	}
	for _, rule := range wanted.rules {
		fmt.Fprintln(&text, rule)
	}
	for _, chain := range stale {
		fmt.Fprintf(&text, "-X %s\n", chain)
	}
	text.WriteString("COMMIT\n")
	return text.String()
}

// renderStaleSets is input for `ipset restore` after the chains have changed: nothing refers to these sets any more.
func renderStaleSets(wanted program, existing []string) string {
	var text strings.Builder
	for _, name := range existing {
		if _, used := wanted.sets[name]; !used {
			fmt.Fprintf(&text, "destroy %s\n", name)
		}
	}
	return text.String()
}

func sortedKeys(sets map[string][]netip.Prefix) []string {
	names := make([]string, 0, len(sets))
	for name := range sets {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
