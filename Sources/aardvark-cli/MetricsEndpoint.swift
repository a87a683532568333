import Aardvark
import ArgumentParser
import CoreMetrics
import FlyingFox
import FlyingSocks
import Foundation
import Logging
import ServiceLifecycle

/// Where `aardvark replica --metrics` serves: an IPv4 or IPv6 address of this machine, and a TCP port; 0 for any that is free.
struct MetricsAddress: Equatable, ExpressibleByArgument {
    let host: String
    let port: UInt16

    /// Takes `PORT`, `HOST:PORT` or `[IPV6]:PORT`; without a host, this machine only.
    init?(argument: String) {
        guard let port = UInt16(argument.split(separator: ":").last ?? "") else { return nil }
        self.port = port
        guard let colon = argument.lastIndex(of: ":") else {
            host = ClusterFile.Endpoint.defaultHost
            return
        }
        var host = String(argument[..<colon])
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = String(host.dropFirst().dropLast())
        } else if host.contains(":") {
            return nil
        }
        guard !host.isEmpty else { return nil }
        self.host = host
    }
}

/// Serves a page of metrics over HTTP for as long as the replica runs. It has threads of its own: whoever asks does not hold up agreement.
struct MetricsEndpoint: Service {
    private static let type = "text/plain; version=0.0.4; charset=utf-8"

    let page: MetricsPage
    let address: MetricsAddress
    let logger: Logger

    /// Answers a request: the page at `/metrics`, and nothing else.
    static func answer(_ page: MetricsPage, to request: HTTPRequest) -> HTTPResponse {
        guard request.path == "/metrics", request.method == .GET else { return HTTPResponse(statusCode: .notFound) }
        return HTTPResponse(statusCode: .ok, headers: [.contentType: type], body: Data(page.text.utf8))
    }

    /// Serves until graceful shutdown or cancellation.
    ///
    /// - Throws: An ``OperatorError`` when the address cannot be bound.
    func run() async throws {
        let handler = ClosureHTTPHandler { [page] request in Self.answer(page, to: request) }
        let server = try server(handler)
        do {
            try await cancelWhenGracefulShutdown {
                try await withThrowingDiscardingTaskGroup { group in
                    group.addTask {
                        try await server.waitUntilListening()
                        let port = Self.port(await server.listeningAddress)
                        logger.info("metrics are served", metadata: ["port": "\(port)"])
                    }
                    try await server.run()
                }
            }
        } catch is CancellationError {
        } catch {
            throw OperatorError(.unavailable, "metrics cannot be served at \(address.host):\(address.port): \(error)")
        }
    }

    private func server(_ handler: ClosureHTTPHandler) throws(OperatorError) -> HTTPServer {
        do {
            if address.host.contains(":") {
                let socket = try sockaddr_in6.inet6(ip6: address.host, port: address.port)
                return HTTPServer(address: socket, timeout: 5, logger: .disabled, handler: handler)
            }
            let socket = try sockaddr_in.inet(ip4: address.host, port: address.port)
            return HTTPServer(address: socket, timeout: 5, logger: .disabled, handler: handler)
        } catch {
            throw OperatorError(.usage, "--metrics wants an IP address of this machine, not \(address.host)")
        }
    }

    private static func port(_ address: Socket.Address?) -> String {
        switch address {
        case .ip4(_, let port), .ip6(_, let port): "\(port)"
        case .unix, nil: "unknown"
        }
    }
}
