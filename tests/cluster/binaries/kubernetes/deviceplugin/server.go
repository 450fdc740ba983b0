// Package deviceplugin offers devices that do not exist to a kubelet, through the kubelet's own device plugin API: the
// scheduler, the kubelet's accounting, quota and preemption see a GPU node. Nothing can be computed on these devices.
package deviceplugin

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// server answers the kubelet: which devices there are, and what a container that got some of them is told.
type server struct {
	v1beta1.UnimplementedDevicePluginServer
	devices []*v1beta1.Device
	// env is the environment variable that carries the ids of a container's devices.
	env string
}

// newServer offers devices <prefix>-0 to <prefix>-<count-1>, all healthy.
func newServer(count int, prefix, env string) *server {
	devices := make([]*v1beta1.Device, count)
	for index := range devices {
		devices[index] = &v1beta1.Device{ID: fmt.Sprintf("%s-%d", prefix, index), Health: v1beta1.Healthy}
	}
	return &server{devices: devices, env: env}
}

func (s *server) GetDevicePluginOptions(context.Context, *v1beta1.Empty) (*v1beta1.DevicePluginOptions, error) {
	return &v1beta1.DevicePluginOptions{}, nil
}

// ListAndWatch sends the devices once and then holds the stream open: a closed stream marks them all unhealthy.
func (s *server) ListAndWatch(
	_ *v1beta1.Empty, stream grpc.ServerStreamingServer[v1beta1.ListAndWatchResponse],
) error {
	if err := stream.Send(&v1beta1.ListAndWatchResponse{Devices: s.devices}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return nil
}

func (s *server) Allocate(
	_ context.Context, request *v1beta1.AllocateRequest,
) (*v1beta1.AllocateResponse, error) {
	response := &v1beta1.AllocateResponse{}
	for _, container := range request.ContainerRequests {
		response.ContainerResponses = append(response.ContainerResponses, &v1beta1.ContainerAllocateResponse{
			Envs: map[string]string{s.env: strings.Join(container.DevicesIds, ",")},
		})
	}
	return response, nil
}
