import Aardvark

extension Client: OperationSubmitter {
    /// Submits an operation; it completes on the client's event loop.
    public func perform(
        _ operation: [UInt8],
        isReadOnly: Bool,
        completion: @escaping @Sendable (OperationOutcome) -> Void
    ) {
        submit(operation, isReadOnly: isReadOnly) { result in
            switch result {
            case .success(let bytes): completion(.result(bytes))
            case .failure(let error): completion(.failure(kind: error.kind))
            }
        }
    }
}

extension ClientError {
    /// The name of the reason in reports, without the numbers that belong to it.
    var kind: String {
        switch self {
        case .timedOut: "timed_out"
        case .cancelled: "cancelled"
        case .closed: "closed"
        case .superseded: "superseded"
        case .operationTooLarge: "operation_too_large"
        case .resultTooLarge: "result_too_large"
        case .unreachable: "unreachable"
        case .notAdmitted: "not_admitted"
        case .incomprehensible: "incomprehensible"
        }
    }
}
