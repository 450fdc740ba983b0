package networkpolicy

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
)

// An address is allowed exactly when it lies in the block and in none of its exceptions; random blocks, all addresses.
func TestBlockPrefixesAreTheBlockWithoutItsExceptions(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		block := networkingv1.IPBlock{CIDR: "198.51.100.0/24"}
		for range random.IntN(4) {
			bits := 25 + random.IntN(8)
			inside := netip.AddrFrom4([4]byte{198, 51, 100, byte(random.IntN(256))})
			block.Except = append(block.Except, netip.PrefixFrom(inside, bits).Masked().String())
		}
		prefixes := blockPrefixes(&block)
		for last := range 256 {
			candidate := netip.AddrFrom4([4]byte{198, 51, 100, byte(last)})
			want := true
			for _, except := range block.Except {
				want = want && !netip.MustParsePrefix(except).Contains(candidate)
			}
			found := 0
			for _, prefix := range prefixes {
				if prefix.Contains(candidate) {
					found++
				}
			}
			if found > 1 || (found == 1) != want {
				t.Fatalf("%v: %s is in %d prefixes, allowed: %v", block, candidate, found, want)
			}
		}
	}
}

func TestIPv6BlocksAreLeftOut(t *testing.T) {
	if got := blockPrefixes(&networkingv1.IPBlock{CIDR: "2001:db8::/32"}); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}
