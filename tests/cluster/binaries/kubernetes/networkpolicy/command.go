package networkpolicy

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// NewCommand builds the command `network-policy`.
func NewCommand() *cobra.Command {
	var kubeconfig, node, readyFile string
	command := &cobra.Command{
		Use:          "network-policy",
		Short:        "Enforce NetworkPolicies on this node's pods",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE: func(*cobra.Command, []string) error {
			if kubeconfig == "" || node == "" {
				return errors.New("--kubeconfig and --node are required")
			}
			return enforce(kubeconfig, node, readyFile)
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "how to reach the API server")
	command.Flags().StringVar(&node, "node", "", "the node whose pods are isolated")
	command.Flags().StringVar(&readyFile, "ready-file", "", "made once the policies are enforced")
	return command
}

func enforce(kubeconfig, node, readyFile string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("--kubeconfig %s: %w", kubeconfig, err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	ctx := genericapiserver.SetupSignalContext()
	factory := informers.NewSharedInformerFactory(client, 0)
	enforcer, err := newController(factory, node, kernel{})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	enforcer.run(ctx, func() error {
		if readyFile == "" {
			return nil
		}
		return os.WriteFile(readyFile, nil, 0o644)
	})
	return nil
}
