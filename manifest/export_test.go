package manifest

// Hashed is how many bytes were hashed so far.
func (s *Source) Hashed() int64 { return s.hashed.Load() }
