package manifest

// Hashed is how many bytes were hashed so far.
func (s *Source) Hashed() int64 { return s.hashed.Load() }

// AnswersWeight is what the answers that are kept take, in bytes.
func (s *Source) AnswersWeight() int64 { return s.answers.Weight() }
