"""The live page: what comes out of the dataflow, in browsers, as it comes."""
