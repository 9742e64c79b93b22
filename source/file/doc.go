// Package file reads services from a static YAML file and watches it.
//
// The file is strict: unknown and repeated keys are mistakes, every mistake is
// reported at once with its line, and a file with a mistake changes nothing: the
// last good state stays published and the source says why.
//
//	clients:                # networks whose DNS clients belong to this cluster (optional)
//	  - prefix: 10.1.0.0/16
//	    zone: a             # optional
//	services:
//	  - name: shop/checkout # NAMESPACE/NAME
//	    headless: false     # optional
//	    ports:              # needed unless headless
//	      - name: http      # needed if there are several
//	        port: 8080
//	        protocol: TCP   # TCP (default), UDP or SCTP
//	        appProtocol: http
//	    check:              # optional; exactly one of http, tcp and grpc
//	      http: {path: /healthz, port: http, host: shop.example}
//	      # tcp: {port: http}
//	      # grpc: {port: grpc, service: shop.Checkout}
//	      interval: 2s            # 100ms to 5m, default 2s
//	      timeout: 1s             # 10ms to 1m, at most 10 intervals, default 1s
//	      healthyThreshold: 2     # 1 to 10, default 2
//	      unhealthyThreshold: 2   # 1 to 10, default 2
//	    endpoints:
//	      - address: 10.1.0.11    # IPv4 or IPv6
//	        zone: a               # optional
//	        weight: 1             # 1 to 65535, default 1
//	        hostname: web-0       # optional; names the endpoint of a headless service
//	        ports: {http: 8081}   # optional; other numbers of named ports
//	        id: web-0             # optional; default the address; unique in the service
//
// The check's port is the name of a TCP port of the service, by default the
// first. Endpoints of a service with a check begin as unknown, all others are
// healthy. The file is bounded: see the Max constants. Anchors and aliases are
// refused, because a few lines of them can stand for gigabytes.
package file
