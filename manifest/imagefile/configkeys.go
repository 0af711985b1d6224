package imagefile

import (
	"maps"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/internal/spell"
)

// setting describes the value of a key of config: a value of kind, null, or text if that is allowed.
type setting struct {
	kind  kind
	text  bool
	inner kind // of the elements of a list or object; broken means any
	want  string
}

// settings are the keys of config whose values are checked. Clients refuse an image if one has a value of another type.
//
// Source: OCI image-spec 1.1, config.md; Docker's image specification 1.2, whose lists of words may be text.
var settings = map[string]setting{
	"User":         {text, true, broken, "text"},
	"WorkingDir":   {text, true, broken, "text"},
	"StopSignal":   {text, true, broken, "text"},
	"Env":          {list, false, text, "a list of NAME=VALUE"},
	"OnBuild":      {list, false, text, "a list of text"},
	"Cmd":          {list, true, text, "a list of text"},
	"Entrypoint":   {list, true, text, "a list of text"},
	"Shell":        {list, true, text, "a list of text"},
	"Labels":       {object, false, text, "an object"},
	"ExposedPorts": {object, false, object, "an object, such as {8080/tcp: {}}"},
	"Volumes":      {object, false, object, "an object, such as {/data: {}}"},
	"Healthcheck":  {object, false, broken, "an object"},
}

// configKeys are all keys of config that clients know: those with a type in [settings], and the rest of Docker's.
//
// Source: OCI image-spec 1.1, config.md; Docker's image specification 1.3; moby, api/types/container, Config.
var configKeys = slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(settings)),
	"ArgsEscaped", "AttachStderr", "AttachStdin", "AttachStdout", "CpuShares", "Domainname", "Hostname", "Image", "MacAddress", "Memory",
	"MemorySwap", "NetworkDisabled", "OpenStdin", "StdinOnce", "StopTimeout", "Tty")))

// otherNames map the words of Dockerfiles, Compose files and Kubernetes to keys of config. They are folded as in [spell.Near].
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

// ConfigKey reports whether clients know a key of config. If they do not, meant is the known key that was probably meant, or "".
// Clients ignore unknown keys. Most of them use Go's JSON, which accepts a known key in another case.
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

// canonical returns the key of config that equals key in another case, or key itself.
func canonical(key string) string {
	if i := slices.IndexFunc(configKeys, func(known string) bool { return strings.EqualFold(known, key) }); i >= 0 {
		return configKeys[i]
	}
	return key
}
