// Package policyfile reads policies from YAML, strictly: every mistake is
// reported with its line, all at once, and nothing is taken from a file that has
// any. A file holds one or more documents:
//
//	kind: Policy
//	name: shop/checkout        # or "default"
//	spec:
//	  regionOrder: [us-west, eu-central]
//	  regionOrderFrom:
//	    asia-east: [us-west]
//	  weights:                 # regions, or region/zone
//	    us-west: 90
//	    eu-central: 10
//	  overprovisioningPercent: 140
//	  panicThresholdPercent: 50
//	  failoverRegions: [us-west, eu-central, asia-east]
//	  ramp: 10s
//	  safety:                  # what must remain during drills and evacuations
//	    minRegions: 2
//	    minEndpointsPercent: 50
//	    gates: [shop-freeze]
//
// The fields of spec are those of [catalog.Policy]. The package does no I/O.
package policyfile
