"""The parts of a cluster that KWOK leaves to the tests of the operator, and the operator as processes."""
