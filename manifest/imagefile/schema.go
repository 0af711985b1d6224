package imagefile

import _ "embed"

//go:embed image.schema.json
var schema string

// Schema is the JSON Schema, draft 2020-12, of one document of a file. Editors and linters take it; [Parse] finds more,
// such as a day that no month has, or two images of one name.
func Schema() string { return schema }
