// Command probe is what the tests of the local cluster run in pods: an HTTP server that says who asked and who
// answered, and a client that reaches for an address until it answers, or for once.
//
//	probe serve [PORT]            GET / answers {"pod":..., "client":..., "version":..., "devices":...} as JSON
//	probe get URL                 prints the body; exits 1 when there is no answer within 3 s
//	probe connect HOST:PORT       exits 0 when a TCP connection opens within 3 s
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const patience = 3 * time.Second

type answer struct {
	Pod     string `json:"pod"`
	Client  string `json:"client"`
	Version string `json:"version"`
	Devices string `json:"devices"`
}

func serve(port string) error {
	// A layer above the image's own may put this file there: it shows which layer a pod runs.
	version, err := os.ReadFile("/version")
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	handler := func(writer http.ResponseWriter, request *http.Request) {
		host, _, _ := net.SplitHostPort(request.RemoteAddr)
		_ = json.NewEncoder(writer).Encode(answer{
			Pod: os.Getenv("HOSTNAME"), Client: host, Version: string(version),
			Devices: os.Getenv("NVIDIA_VISIBLE_DEVICES"),
		})
	}
	server := &http.Server{Addr: ":" + port, Handler: http.HandlerFunc(handler), ReadHeaderTimeout: patience}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() { <-ctx.Done(); _ = server.Close() }()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		return err
	}
	return nil
}

func get(url string) error {
	client := http.Client{Timeout: patience}
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(os.Stdout, response.Body)
	return err
}

func connect(address string) error {
	connection, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return err
	}
	return connection.Close()
}

func run(arguments []string) error {
	switch {
	case len(arguments) == 1 && arguments[0] == "serve":
		return serve("8080")
	case len(arguments) == 2 && arguments[0] == "serve":
		return serve(arguments[1])
	case len(arguments) == 2 && arguments[0] == "get":
		return get(arguments[1])
	case len(arguments) == 2 && arguments[0] == "connect":
		return connect(arguments[1])
	}
	return fmt.Errorf("usage: probe serve [PORT] | get URL | connect HOST:PORT; got %q", arguments)
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
