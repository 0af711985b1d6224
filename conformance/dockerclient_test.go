package conformance_test

import (
	"context"
	"slices"
)

func dockerOperations(docker program) []operation {
	return []operation{{client: "docker", name: "pull, run", refuses: zstdLayers("invalid tar header", "Docker 20.10 knows no zstd layers"), do: func(ctx context.Context, dir string, i target) error {
		defer docker.undo(ctx, "image", "rm", "--force", i.image())
		return engine{program: docker}.pullAndRun(ctx, dir, i)
	}}}
}

// zstdLayers is the refusal of a client that does not take them.
func zstdLayers(text, reason string) func(string, target) *refusal {
	return func(encoding string, _ target) *refusal {
		if encoding != "zstd" {
			return nil
		}
		return &refusal{text, reason}
	}
}

// engine is a program with Docker's commands.
type engine struct {
	program
	pullArgs []string // to pull without TLS, where that is not the default
	runArgs  []string
}

func (e engine) pullAndRun(ctx context.Context, dir string, i target) error {
	if _, err := e.run(ctx, dir, slices.Concat([]string{"pull", "--quiet"}, e.pullArgs, []string{i.image()})...); err != nil {
		return err
	}
	out, err := e.run(ctx, dir, "image", "inspect", "--format", "{{.Id}} {{range .RepoDigests}}{{.}} {{end}}", i.image())
	if err != nil {
		return err
	}
	if err := has("the image's digests", out, i.host+"/"+i.repo+"@"+i.top); err != nil {
		return err
	}
	if err := hasID(out, i.config); err != nil || i.says == "" {
		return err
	}
	out, err = e.run(ctx, dir, slices.Concat([]string{"run", "--rm", "--network", "none"}, e.runArgs, []string{i.image()})...)
	if err != nil {
		return err
	}
	return i.greets(out)
}
