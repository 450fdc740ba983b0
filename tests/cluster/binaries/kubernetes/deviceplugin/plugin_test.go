package deviceplugin

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

func TestAllocateTellsEachContainerItsOwnDevices(t *testing.T) {
	offered := newServer(4, "GPU", "NVIDIA_VISIBLE_DEVICES")
	response, err := offered.Allocate(context.Background(), &v1beta1.AllocateRequest{
		ContainerRequests: []*v1beta1.ContainerAllocateRequest{
			{DevicesIds: []string{"GPU-2", "GPU-0"}}, {DevicesIds: []string{"GPU-1"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for index, want := range []string{"GPU-2,GPU-0", "GPU-1"} {
		if got := response.ContainerResponses[index].Envs["NVIDIA_VISIBLE_DEVICES"]; got != want {
			t.Errorf("container %d sees devices %q, want %q", index, got, want)
		}
	}
}

func TestDevicesHaveDistinctIDsAndAreHealthy(t *testing.T) {
	seen := map[string]bool{}
	for _, device := range newServer(8, "GPU", "").devices {
		if seen[device.ID] || device.Health != v1beta1.Healthy {
			t.Errorf("device %q: repeated=%v health=%q", device.ID, seen[device.ID], device.Health)
		}
		seen[device.ID] = true
	}
	if len(seen) != 8 {
		t.Errorf("%d devices, want 8", len(seen))
	}
}

// kubelet is the registration service of a kubelet, and records who registered.
type kubelet struct {
	v1beta1.UnimplementedRegistrationServer
	registrations chan string
}

func (k *kubelet) Register(_ context.Context, request *v1beta1.RegisterRequest) (*v1beta1.Empty, error) {
	k.registrations <- request.ResourceName
	return &v1beta1.Empty{}, nil
}

func startKubelet(t *testing.T, folder string, registrations chan string) *grpc.Server {
	t.Helper()
	_ = os.Remove(filepath.Join(folder, kubeletSocket))
	listener, err := net.Listen("unix", filepath.Join(folder, kubeletSocket))
	if err != nil {
		t.Fatal(err)
	}
	service := grpc.NewServer()
	v1beta1.RegisterRegistrationServer(service, &kubelet{registrations: registrations})
	go func() { _ = service.Serve(listener) }()
	return service
}

func expectRegistration(t *testing.T, registrations <-chan string) {
	t.Helper()
	select {
	case resource := <-registrations:
		if resource != "nvidia.com/gpu" {
			t.Fatalf("registered %q", resource)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("no registration within 20 s")
	}
}

func TestRegistersAgainWithAKubeletThatStartsLaterOrAgain(t *testing.T) {
	folder := t.TempDir()
	registrations := make(chan string, 16)
	offered := &plugin{folder: folder, socket: "x.sock", resource: "nvidia.com/gpu", server: newServer(1, "GPU", "E")}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- offered.run(ctx) }()

	first := startKubelet(t, folder, registrations)
	expectRegistration(t, registrations)
	first.Stop()
	second := startKubelet(t, folder, registrations)
	defer second.Stop()
	expectRegistration(t, registrations)

	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}
