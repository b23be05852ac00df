"""What becomes of frauds that people are told of: one alert for each rule and entity, in bursts, not too many."""
