package conformance_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Credentials come from where docker login puts them: Docker's configuration, or a program that it names; where there is
// no such configuration, from where podman login puts them.
func TestPullWithCredentials(t *testing.T) {
	c := readPullCase(t, "one-docker")
	host := serving(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "user" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}`, http.StatusUnauthorized)
			return
		}
		c.ServeHTTP(w, r)
	}))
	helpers := t.TempDir()
	const helper = "#!/bin/sh\n[ \"$1\" = get ] && echo '{\"Username\":\"user\",\"Secret\":\"secret\"}'\n"
	if err := os.WriteFile(filepath.Join(helpers, "docker-credential-test"), []byte(helper), 0o755); err != nil {
		t.Fatal(err)
	}
	auth := base64.StdEncoding.EncodeToString([]byte("user:secret"))
	for name, config := range map[string]string{
		"configuration": fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, auth),
		"helper":        fmt.Sprintf(`{"credHelpers":{%q:"test"}}`, host),
		"podman's":      fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, auth),
		"none":          `{}`,
		"another's":     fmt.Sprintf(`{"auths":{"registry.test":{"auth":%q}}}`, auth),
	} {
		t.Run(name, func(t *testing.T) {
			dir, file := t.TempDir(), "config.json"
			if name == "podman's" {
				file = "auth.json"
			}
			if err := os.WriteFile(filepath.Join(dir, file), []byte(config), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), binary, "pull", "--tls-verify=false", "--json", "docker://"+host+"/"+pullRepository+"@"+c.Digest,
				"--final-name", c.FinalName, "--final-tag", c.FinalTag)
			cmd.Env = append(os.Environ(), "HOME="+dir, "DOCKER_CONFIG="+dir, "REGISTRY_AUTH_FILE="+filepath.Join(dir, "auth.json"), "PATH="+helpers+":"+os.Getenv("PATH"))
			out, err := cmd.Output()
			switch known := name != "none" && name != "another's"; {
			case known && (err != nil || !strings.Contains(string(out), c.Archive)):
				t.Errorf("%v\n%s%s", err, out, stderrOf(err))
			case !known && (err == nil || !strings.Contains(string(stderrOf(err)), "who are you (if it needs credentials: docker login "+host+")\n")):
				t.Errorf("without credentials: %v\n%s", err, stderrOf(err))
			}
		})
	}
}
