package imagefile

import (
	"maps"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/internal/spell"
)

// configKeys are all keys of config that clients know: those with a type in [settings], and the rest of Docker's.
//
// Source: OCI image-spec 1.1, config.md; Docker's image specification 1.3; moby, api/types/container, Config.
var configKeys = slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(settings)),
	"ArgsEscaped", "AttachStderr", "AttachStdin", "AttachStdout", "CpuShares", "Domainname", "Hostname", "Image", "MacAddress", "Memory",
	"MemorySwap", "NetworkDisabled", "OpenStdin", "StdinOnce", "StopTimeout", "Tty")))

// otherNames are the words of Dockerfiles, Compose files and Kubernetes for keys of config, folded as [spell.Near] compares.
var otherNames = map[string]string{
	"args": "Cmd", "arguments": "Cmd", "command": "Cmd", "commands": "Cmd", "run": "Cmd", "exec": "Cmd", "program": "Cmd",
	"annotations": "Labels", "annotation": "Labels", "metadata": "Labels",
	"cwd": "WorkingDir", "directory": "WorkingDir", "dir": "WorkingDir", "workdir": "WorkingDir", "workingdirectory": "WorkingDir", "chdir": "WorkingDir",
	"environment": "Env", "envs": "Env", "variables": "Env", "envvars": "Env",
	"expose": "ExposedPorts", "exposed": "ExposedPorts", "port": "ExposedPorts", "ports": "ExposedPorts", "publish": "ExposedPorts",
	"healthchecks": "Healthcheck", "health": "Healthcheck", "livenessprobe": "Healthcheck",
	"mount": "Volumes", "mounts": "Volumes", "volumemounts": "Volumes",
	"stopgraceperiod": "StopTimeout", "runasuser": "User", "username": "User", "uid": "User",
}

// ConfigKey judges a key of config. meant is the known key that a misspelled one stands for; "" if none is near. Clients ignore
// unknown keys, but Go's JSON, which most clients use, takes a key in another case for the known one.
func ConfigKey(key string) (known bool, meant string) {
	if slices.Contains(configKeys, key) {
		return true, ""
	}
	folded := strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(key))
	if other := otherNames[folded]; other != "" {
		return false, other
	}
	if meant = spell.Near(key, slices.Values(configKeys)); meant == "" {
		meant = otherNames[spell.Near(key, slices.Values(slices.Sorted(maps.Keys(otherNames))))]
	}
	return false, meant
}

// advice says what may have been meant by a key that does not exist.
func advice(key string) string {
	if key == "copyToRoot" {
		return "buildImage's name for contents"
	}
	if _, below := settings[canonical(key)]; below { // people write them a level too high
		return "write it below config, as " + canonical(key)
	}
	known := slices.Concat(slices.Sorted(maps.Keys(arguments)), needBuild, withoutEffect)
	if best := spell.Near(key, slices.Values(known)); best != "" {
		return "did you mean " + best + "?"
	}
	if _, meant := ConfigKey(key); meant != "" {
		return "write it below config, as " + meant
	}
	return "an image has no such argument"
}

// canonical is the key of config that key is in another case; key itself if there is none.
func canonical(key string) string {
	if i := slices.IndexFunc(configKeys, func(known string) bool { return strings.EqualFold(known, key) }); i >= 0 {
		return configKeys[i]
	}
	return key
}
