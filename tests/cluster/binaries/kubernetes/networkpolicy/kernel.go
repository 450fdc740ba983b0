package networkpolicy

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// kernel is the netfilter state of the network namespace that this process runs in.
type kernel struct{}

// install makes the kernel hold the program, whatever of ours it held before.
func (k kernel) install(ctx context.Context, wanted program) error {
	sets, err := k.setNames(ctx)
	if err != nil {
		return err
	}
	chains, err := k.chainNames(ctx)
	if err != nil {
		return err
	}
	if _, err := k.run(ctx, renderSets(wanted, sets), "ipset", "restore"); err != nil {
		return err
	}
	if _, err := k.run(ctx, renderChains(wanted, chains), "iptables-restore", "--noflush", "--wait"); err != nil {
		return err
	}
	_, err = k.run(ctx, renderStaleSets(wanted, sets), "ipset", "restore")
	return err
}

func (k kernel) setNames(ctx context.Context) ([]string, error) {
	output, err := k.run(ctx, "", "ipset", "list", "-name")
	if err != nil {
		return nil, err
	}
	return ours(strings.Fields(output)), nil
}

func (k kernel) chainNames(ctx context.Context) ([]string, error) {
	output, err := k.run(ctx, "", "iptables-save", "-t", table)
	if err != nil {
		return nil, err
	}
	var chains []string
	for line := range strings.Lines(output) {
		if name, declares := strings.CutPrefix(line, ":"); declares {
			chains = append(chains, strings.Fields(name)[0])
		}
	}
	return ours(chains), nil
}

func ours(names []string) []string {
	var found []string
	for _, name := range names {
		if strings.HasPrefix(name, namePrefix) {
			found = append(found, name)
		}
	}
	return found
}

func (k kernel) run(ctx context.Context, input, program string, arguments ...string) (string, error) {
	command := exec.CommandContext(ctx, program, arguments...)
	command.Stdin = strings.NewReader(input)
	var output, problems bytes.Buffer
	command.Stdout, command.Stderr = &output, &problems
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s; its input was:\n%s", program, err, problems.String(), input)
	}
	return output.String(), nil
}
