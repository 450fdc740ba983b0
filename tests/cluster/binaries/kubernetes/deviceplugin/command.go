package deviceplugin

import (
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// NewCommand builds the command `device-plugin`.
func NewCommand() *cobra.Command {
	var count int
	var resource, prefix, env, folder string
	command := &cobra.Command{
		Use:          "device-plugin",
		Short:        "Offer devices that do not exist to this node's kubelet",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(command *cobra.Command, _ []string) error {
			if count < 1 {
				return fmt.Errorf("--count is %d: offer at least one device, or do not start this command", count)
			}
			if problems := validation.IsQualifiedName(resource); len(problems) > 0 {
				return fmt.Errorf("--resource %q is not a resource name: %v", resource, problems)
			}
			offered := &plugin{
				folder: folder, socket: "local-kubernetes.sock", resource: resource,
				server: newServer(count, prefix, env),
			}
			return offered.run(genericapiserver.SetupSignalContext())
		},
	}
	flags := command.Flags()
	flags.IntVar(&count, "count", 1, "how many devices this node has")
	flags.StringVar(&resource, "resource", "nvidia.com/gpu", "the extended resource that pods request")
	flags.StringVar(&prefix, "id-prefix", "GPU", "what the ids of the devices start with")
	flags.StringVar(&env, "env", "NVIDIA_VISIBLE_DEVICES", "the variable that tells a container its devices")
	flags.StringVar(&folder, "folder", v1beta1.DevicePluginPath, "the kubelet's folder of plugin sockets")
	return command
}
