package imagefile

import (
	"maps"
	"slices"
	"strings"
)

// configKeys are the usual keys of config, which people write a level too high.
//
// Source: OCI image-spec 1.1, "Image Configuration", and Docker's image specification 1.2.
var configKeys = []string{
	"Cmd", "Entrypoint", "Env", "ExposedPorts", "Healthcheck", "Labels", "OnBuild", "Shell", "StopSignal", "User",
	"Volumes", "WorkingDir",
}

// advice says what may have been meant by a key that does not exist.
func advice(key string) string {
	same := func(known string) bool { return strings.EqualFold(known, key) }
	if key == "copyToRoot" {
		return "buildImage's name for contents"
	}
	if i := slices.IndexFunc(configKeys, same); i >= 0 {
		return "write it below config, as " + configKeys[i]
	}
	known := slices.Sorted(maps.Keys(arguments))
	known = append(known, needBuild...)
	known = append(known, withoutEffect...)
	best, distance := "", len(key)
	for _, k := range known {
		if d := edits(strings.ToLower(k), strings.ToLower(key)); d < distance && d <= len(k)/3 { // more changes make another word
			best, distance = k, d
		}
	}
	if best == "" {
		return "an image has no such argument"
	}
	return "did you mean " + best + "?"
}

// edits is the Levenshtein distance of two short words.
func edits(a, b string) int {
	const most = 32
	if len(a) > most || len(b) > most {
		return most
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
