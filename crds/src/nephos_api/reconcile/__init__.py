"""The loop that operator, agent and image service share: keys in, one result out."""
