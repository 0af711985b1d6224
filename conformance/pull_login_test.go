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

// Credentials come from where docker login puts them: Docker's configuration, or a program that it names.
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
		"none":          `{}`,
		"another's":     fmt.Sprintf(`{"auths":{"registry.test":{"auth":%q}}}`, auth),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), binary, "pull", "--tls-verify=false", "--json", "docker://"+host+"/"+pullRepository+"@"+c.Digest,
				"--final-name", c.FinalName, "--final-tag", c.FinalTag)
			cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+dir, "REGISTRY_AUTH_FILE=", "PATH="+helpers+":"+os.Getenv("PATH"))
			out, err := cmd.Output()
			switch known := name == "configuration" || name == "helper"; {
			case known && (err != nil || !strings.Contains(string(out), c.Archive)):
				t.Errorf("%v\n%s%s", err, out, stderrOf(err))
			case !known && (err == nil || !strings.Contains(string(stderrOf(err)), "who are you (if it needs credentials: docker login "+host+")\n")):
				t.Errorf("without credentials: %v\n%s", err, stderrOf(err))
			}
		})
	}
}
