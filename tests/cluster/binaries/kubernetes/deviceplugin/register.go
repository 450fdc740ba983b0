package deviceplugin

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"k8s.io/klog/v2"
	"k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

const (
	kubeletSocket  = "kubelet.sock"
	retryRegister  = 200 * time.Millisecond
	dialUnixPrefix = "unix://"
)

// plugin is one resource offered in one kubelet's device plugin folder.
type plugin struct {
	folder   string
	socket   string
	resource string
	server   *server
}

// run serves and registers, and does both again whenever a kubelet starts: a starting kubelet empties the folder
// and has forgotten every plugin. It returns when the context ends, or with an error nothing can be done about.
func (p *plugin) run(ctx context.Context) error {
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch %s: %w", p.folder, err)
	}
	defer watcher.Close()
	if err := os.MkdirAll(p.folder, 0o750); err != nil {
		return err
	}
	if err := watcher.Add(p.folder); err != nil {
		return fmt.Errorf("watch %s: %w", p.folder, err)
	}
	for ctx.Err() == nil {
		if err := p.serveUntilForgotten(ctx, watcher); err != nil {
			return err
		}
	}
	return nil
}

func (p *plugin) serveUntilForgotten(ctx context.Context, watcher *fsnotify.Watcher) error {
	path := filepath.Join(p.folder, p.socket)
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	grpcServer := grpc.NewServer()
	v1beta1.RegisterDevicePluginServer(grpcServer, p.server)
	go func() { _ = grpcServer.Serve(listener) }()
	defer grpcServer.Stop()

	registered := make(chan struct{})
	registering, stopRegistering := context.WithCancel(ctx)
	defer stopRegistering()
	go p.registerUntilAccepted(registering, registered)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-registered:
			klog.InfoS("Registered", "resource", p.resource, "devices", len(p.server.devices))
			registered = nil
		case event := <-watcher.Events:
			// The event may be about an earlier socket of ours, which was removed before this one was made.
			gone := event.Name == path && event.Has(fsnotify.Remove) && !exists(path)
			restarted := filepath.Base(event.Name) == kubeletSocket && event.Has(fsnotify.Create)
			if gone || (restarted && registered == nil) {
				return nil
			}
		case err := <-watcher.Errors:
			return err
		}
	}
}

// registerUntilAccepted keeps trying: the kubelet may start after us.
func (p *plugin) registerUntilAccepted(ctx context.Context, registered chan<- struct{}) {
	for ctx.Err() == nil {
		err := p.register(ctx)
		if err == nil {
			close(registered)
			return
		}
		klog.V(2).InfoS("The kubelet does not answer yet", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(retryRegister):
		}
	}
}

func (p *plugin) register(ctx context.Context) error {
	target := dialUnixPrefix + filepath.Join(p.folder, kubeletSocket)
	connection, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	_, err = v1beta1.NewRegistrationClient(connection).Register(ctx, &v1beta1.RegisterRequest{
		Version: v1beta1.Version, Endpoint: p.socket, ResourceName: p.resource,
	})
	return err
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
