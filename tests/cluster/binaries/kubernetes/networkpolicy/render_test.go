package networkpolicy

import (
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

var (
	everywhere = netip.MustParsePrefix("0.0.0.0/0")
	peer       = netip.MustParsePrefix("10.0.0.9/32")
)

func isolated(allowed ...allowance) isolation {
	return isolation{netip.MustParseAddr("10.0.0.1"), networkingv1.PolicyTypeIngress, allowed}
}

func TestAnIsolatedPodWithoutAllowancesReachesOnlyItself(t *testing.T) {
	got := renderChains(compile([]isolation{isolated()}), nil)
	want := `*mangle
:DSNP-MAIN - [0:0]
:DSNP-I-0a000001 - [0:0]
-F FORWARD
-A FORWARD -j DSNP-MAIN
-F INPUT
-A INPUT -j DSNP-MAIN
-A DSNP-MAIN -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN
-A DSNP-MAIN -d 10.0.0.1/32 -j DSNP-I-0a000001
-A DSNP-I-0a000001 -s 10.0.0.1/32 -j RETURN
-A DSNP-I-0a000001 -j DROP
COMMIT
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestAllowancesComeBeforeTheDrop(t *testing.T) {
	dns := portRange{corev1.ProtocolUDP, 53, 53}
	wanted := compile([]isolation{isolated(allowance{peers: []netip.Prefix{peer}, ports: []portRange{dns}})})
	name := setName([]netip.Prefix{peer})
	rule := "-A DSNP-I-0a000001 -m set --match-set " + name + " src -p udp -m udp --dport 53:53 -j RETURN\n"
	text := renderChains(wanted, nil)
	if strings.Index(text, rule) < 0 || strings.Index(text, rule) > strings.Index(text, "-j DROP") {
		t.Errorf("want %q before the drop in\n%s", rule, text)
	}
}

func TestAnAllowanceForNobodyMakesNoRule(t *testing.T) {
	wanted := compile([]isolation{isolated(allowance{anyPort: true})})
	if len(wanted.sets) != 0 || len(wanted.rules) != len(compile([]isolation{isolated()}).rules) {
		t.Errorf("got %v", wanted)
	}
}

func TestSetsAreMadeOnceAndRemovedWhenUnused(t *testing.T) {
	wanted := compile([]isolation{isolated(allowance{peers: []netip.Prefix{peer}, anyPort: true})})
	name := setName([]netip.Prefix{peer})
	if got, want := renderSets(wanted, nil), "create "+name+" hash:net family inet\nadd "+name+" 10.0.0.9/32\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := renderSets(wanted, []string{name}); got != "" {
		t.Errorf("an existing set is made again: %q", got)
	}
	if got := renderStaleSets(wanted, []string{name, "DSNP-old"}); got != "destroy DSNP-old\n" {
		t.Errorf("got %q", got)
	}
}

func TestTheWholeAddressSpaceIsWrittenAsTwoHalves(t *testing.T) {
	wanted := compile([]isolation{isolated(allowance{peers: []netip.Prefix{everywhere}, anyPort: true})})
	text := renderSets(wanted, nil)
	if !strings.Contains(text, " 0.0.0.0/1\n") || !strings.Contains(text, " 128.0.0.0/1\n") {
		t.Errorf("got %q", text)
	}
}

func TestChainsOfFormerPodsAreDeletedAfterTheirLastUse(t *testing.T) {
	text := renderChains(compile(nil), []string{mainChain, "DSNP-I-0a0000ff"})
	declared, deleted := strings.Index(text, ":DSNP-I-0a0000ff"), strings.Index(text, "-X DSNP-I-0a0000ff")
	if declared < 0 || deleted < declared || strings.Contains(text, "-X "+mainChain) {
		t.Errorf("got\n%s", text)
	}
}
