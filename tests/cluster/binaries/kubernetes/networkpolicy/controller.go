package networkpolicy

import (
	"context"
	"fmt"
	"reflect"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	networkinglisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

const (
	// gather is how long events are collected before the rules are computed once for all of them.
	gather = 50 * time.Millisecond
	// reinstall repairs what somebody else removed from the kernel.
	reinstall = 30 * time.Second
)

// installer is the kernel, or what a test puts in its place.
type installer interface {
	install(ctx context.Context, wanted program) error
}

type controller struct {
	node       string
	pods       corelisters.PodLister
	namespaces corelisters.NamespaceLister
	policies   networkinglisters.NetworkPolicyLister
	synced     []cache.InformerSynced
	changed    chan struct{}
	into       installer
}

func newController(factory informers.SharedInformerFactory, node string, into installer) (*controller, error) {
	pods := factory.Core().V1().Pods()
	namespaces := factory.Core().V1().Namespaces()
	policies := factory.Networking().V1().NetworkPolicies()
	result := &controller{
		node: node, into: into, changed: make(chan struct{}, 1),
		pods: pods.Lister(), namespaces: namespaces.Lister(), policies: policies.Lister(),
	}
	for _, informer := range []cache.SharedIndexInformer{
		pods.Informer(), namespaces.Informer(), policies.Informer(),
	} {
		registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { result.notify() },
			UpdateFunc: func(before, after any) {
				if changesRules(before, after) {
					result.notify()
				}
			},
			DeleteFunc: func(any) { result.notify() },
		})
		if err != nil {
			return nil, fmt.Errorf("watch: %w", err)
		}
		result.synced = append(result.synced, registration.HasSynced)
	}
	return result, nil
}

// changesRules leaves out a pod's many status updates that no rule depends on.
func changesRules(before, after any) bool {
	old, isPod := before.(*corev1.Pod)
	if !isPod {
		return true
	}
	current := after.(*corev1.Pod)
	return address(old) != address(current) || hasOwnAddress(old) != hasOwnAddress(current) ||
		!reflect.DeepEqual(old.Labels, current.Labels)
}

func (c *controller) notify() {
	select {
	case c.changed <- struct{}{}:
	default: // A computation is due already and will see this change.
	}
}

// run installs after each change, until the context ends, and tries again after a failure. ready is called after the
// first install.
func (c *controller) run(ctx context.Context, ready func() error) {
	if !cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		return
	}
	ticker := time.NewTicker(reinstall)
	defer ticker.Stop()
	for {
		if err := c.installOnce(ctx); err != nil && ctx.Err() == nil {
			klog.ErrorS(err, "The network policies are not enforced as they should be")
			c.notify()
		} else if ready != nil {
			if err := ready(); err != nil {
				klog.ErrorS(err, "Nobody will know that the policies are enforced")
			}
			ready = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-c.changed:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(gather):
		}
	}
}

func (c *controller) installOnce(ctx context.Context) error {
	observed, err := c.observe()
	if err != nil {
		return err
	}
	isolations := computeIsolations(observed, c.node)
	klog.V(2).InfoS("Installing", "isolations", len(isolations))
	return c.into.install(ctx, compile(isolations))
}

func (c *controller) observe() (state, error) {
	var observed state
	var err error
	if observed.pods, err = c.pods.List(labels.Everything()); err != nil {
		return observed, err
	}
	if observed.namespaces, err = c.namespaces.List(labels.Everything()); err != nil {
		return observed, err
	}
	observed.policies, err = c.policies.List(labels.Everything())
	return observed, err
}
