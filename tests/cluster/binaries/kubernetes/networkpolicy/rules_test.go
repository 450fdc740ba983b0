package networkpolicy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const here = "node1"

func pod(namespace, name, ip string, labels map[string]string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec: corev1.PodSpec{
			NodeName:   here,
			Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}}}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip},
	}
}

func namespace(name string) *corev1.Namespace {
	labels := map[string]string{"kubernetes.io/metadata.name": name}
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
}

func policy(spec networkingv1.NetworkPolicySpec) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "p"}, Spec: spec}
}

func selecting(labels map[string]string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: labels}
}

func tcp(port intstr.IntOrString) networkingv1.NetworkPolicyPort {
	return networkingv1.NetworkPolicyPort{Port: &port}
}

func from(peers ...networkingv1.NetworkPolicyPeer) networkingv1.NetworkPolicySpec {
	return networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{From: peers}}}
}

func to(
	ports []networkingv1.NetworkPolicyPort, peers ...networkingv1.NetworkPolicyPeer,
) networkingv1.NetworkPolicySpec {
	return networkingv1.NetworkPolicySpec{
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
		Egress:      []networkingv1.NetworkPolicyEgressRule{{Ports: ports, To: peers}},
	}
}

// world is three pods: web and db in namespace a, other in namespace b.
func world(policies ...*networkingv1.NetworkPolicy) state {
	return state{
		pods: []*corev1.Pod{
			pod("a", "web", "10.0.0.1", map[string]string{"app": "web"}),
			pod("a", "db", "10.0.0.2", map[string]string{"app": "db"}),
			pod("b", "other", "10.0.0.3", map[string]string{"app": "web"}),
		},
		namespaces: []*corev1.Namespace{namespace("a"), namespace("b")},
		policies:   policies,
	}
}

// describe writes an isolation in one line, as in "10.0.0.1 Ingress: [10.0.0.2/32] any port".
func describe(isolated isolation) string {
	var rules []string
	for _, allowed := range isolated.allowed {
		peers := fmt.Sprint(allowed.peers)
		if allowed.anyPeer {
			peers = "anybody"
		}
		ports := "any port"
		if !allowed.anyPort {
			var texts []string
			for _, ports := range allowed.ports {
				texts = append(texts, fmt.Sprintf("%s:%d-%d", ports.protocol, ports.first, ports.last))
			}
			ports = strings.Join(texts, ",")
		}
		rules = append(rules, peers+" "+ports)
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s: %s", isolated.pod, isolated.direction, strings.Join(rules, "; ")))
}

func TestIsolations(t *testing.T) {
	web := *selecting(map[string]string{"app": "web"})
	everybody := metav1.LabelSelector{}
	cases := map[string]struct {
		spec networkingv1.NetworkPolicySpec
		want []string
	}{
		"no rules: nothing enters the selected pods of that namespace": {
			networkingv1.NetworkPolicySpec{PodSelector: web}, []string{"10.0.0.1 Ingress:"},
		},
		"default deny in both directions": {
			networkingv1.NetworkPolicySpec{PodSelector: web, PolicyTypes: []networkingv1.PolicyType{
				networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress,
			}},
			[]string{"10.0.0.1 Egress:", "10.0.0.1 Ingress:"},
		},
		"a podSelector alone stays in the policy's namespace": {
			from(networkingv1.NetworkPolicyPeer{PodSelector: &web}),
			[]string{"10.0.0.1 Ingress: [10.0.0.1/32] any port", "10.0.0.2 Ingress: [10.0.0.1/32] any port"},
		},
		"a namespaceSelector alone means all of its pods": {
			from(networkingv1.NetworkPolicyPeer{
				NamespaceSelector: selecting(map[string]string{"kubernetes.io/metadata.name": "b"}),
			}),
			[]string{"10.0.0.1 Ingress: [10.0.0.3/32] any port", "10.0.0.2 Ingress: [10.0.0.3/32] any port"},
		},
		"both selectors in one peer must both match": {
			from(networkingv1.NetworkPolicyPeer{
				NamespaceSelector: &everybody, PodSelector: selecting(map[string]string{"app": "db"}),
			}),
			[]string{"10.0.0.1 Ingress: [10.0.0.2/32] any port", "10.0.0.2 Ingress: [10.0.0.2/32] any port"},
		},
		"a rule without peers lets anybody in": {
			from(), []string{"10.0.0.1 Ingress: anybody any port", "10.0.0.2 Ingress: anybody any port"},
		},
		"egress only does not isolate ingress; a port without a name is TCP": {
			to([]networkingv1.NetworkPolicyPort{tcp(intstr.FromInt32(53))}),
			[]string{"10.0.0.1 Egress: anybody TCP:53-53", "10.0.0.2 Egress: anybody TCP:53-53"},
		},
		"a named port of egress is looked up on each peer, beside an empty allowance for the numbered ones": {
			to([]networkingv1.NetworkPolicyPort{tcp(intstr.FromString("web"))},
				networkingv1.NetworkPolicyPeer{PodSelector: &web}),
			[]string{
				"10.0.0.1 Egress: [10.0.0.1/32] ; [10.0.0.1/32] TCP:8080-8080",
				"10.0.0.2 Egress: [10.0.0.1/32] ; [10.0.0.1/32] TCP:8080-8080",
			},
		},
		"an ipBlock without its exceptions": {
			to(nil, networkingv1.NetworkPolicyPeer{
				IPBlock: &networkingv1.IPBlock{CIDR: "192.0.2.0/30", Except: []string{"192.0.2.1/32"}},
			}),
			[]string{
				"10.0.0.1 Egress: [192.0.2.0/32 192.0.2.2/31] any port",
				"10.0.0.2 Egress: [192.0.2.0/32 192.0.2.2/31] any port",
			},
		},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, isolated := range computeIsolations(world(policy(test.spec)), here) {
				got = append(got, describe(isolated))
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
		})
	}
}

func TestPoliciesAddUp(t *testing.T) {
	deny := policy(networkingv1.NetworkPolicySpec{})
	allow := policy(from(networkingv1.NetworkPolicyPeer{PodSelector: selecting(map[string]string{"app": "db"})}))
	got := describe(computeIsolations(world(deny, allow), here)[0])
	if want := "10.0.0.1 Ingress: [10.0.0.2/32] any port"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestEndPortMakesARange(t *testing.T) {
	port := tcp(intstr.FromInt32(8000))
	last := int32(8010)
	port.EndPort = &last
	got := describe(computeIsolations(world(policy(to([]networkingv1.NetworkPolicyPort{port}))), here)[0])
	if want := "10.0.0.1 Egress: anybody TCP:8000-8010"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPodsWithoutAnAddressOfTheirOwnAreNeitherIsolatedNorPeers(t *testing.T) {
	for name, change := range map[string]func(*corev1.Pod){
		"ended":        func(pod *corev1.Pod) { pod.Status.Phase = corev1.PodSucceeded },
		"host network": func(pod *corev1.Pod) { pod.Spec.HostNetwork = true },
		"not started":  func(pod *corev1.Pod) { pod.Status.PodIP = "" },
	} {
		t.Run(name, func(t *testing.T) {
			observed := world(policy(from(networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{}})))
			change(observed.pods[0])
			isolations := computeIsolations(observed, here)
			if len(isolations) != 1 || describe(isolations[0]) != "10.0.0.2 Ingress: [10.0.0.2/32] any port" {
				t.Errorf("got %v", isolations)
			}
		})
	}
}

func TestPodsOfOtherNodesArePeersOnly(t *testing.T) {
	observed := world(policy(from(networkingv1.NetworkPolicyPeer{PodSelector: &metav1.LabelSelector{}})))
	observed.pods[0].Spec.NodeName = "node2"
	isolations := computeIsolations(observed, here)
	if len(isolations) != 1 || describe(isolations[0]) != "10.0.0.2 Ingress: [10.0.0.1/32 10.0.0.2/32] any port" {
		t.Errorf("got %v", isolations)
	}
}
