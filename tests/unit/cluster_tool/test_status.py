from local_kubernetes.status import render


def test_it_ends_with_what_a_shell_needs_to_reach_the_cluster() -> None:
    state = "/var/lib/deepseek-local-kubernetes/deepseek"
    facts = dict.fromkeys(("name", "mode", "api", "volumesDir", "auditLog"), "")
    places = {"kubeconfig": f"{state}/kubeconfig/admin", "kubectl": f"{state}/bin/kubectl", "nodes": []}
    lines = render({**facts, **places}).splitlines()
    assert lines[-2] == f"export KUBECONFIG={state}/kubeconfig/admin"
    assert lines[-1].startswith(f"export PATH={state}/bin:$PATH")
