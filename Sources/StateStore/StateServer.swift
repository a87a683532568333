extension AuthenticatedStore {
    /// Answers another replica that fetches the state of a checkpoint.
    ///
    /// The work is bounded by the answer's size and its number of nodes. Nothing is remembered between two requests. A
    /// path that the checkpoint's tree does not have ends the answer: no replica with a certified root asks for one.
    ///
    /// - Parameter request: What a replica asks for; nothing about it need be true.
    /// - Returns: The nodes, as many as the request's budget allows and at least one of those asked for; or that the
    ///   checkpoint is gone.
    public func answer(to request: StateRequest) -> StateAnswer {
        guard root(ofCheckpoint: request.checkpoint) != nil else {
            return StateAnswer(number: request.number, content: .gone)
        }
        let budget = min(request.budget, StateTransferLimits.answerBudget)
        var nodes: [StateNode] = []
        var size = 0
        // What is still to be visited, the next one last. It holds at most 15 siblings a level besides the request.
        var open = Array(request.subtrees.reversed())
        while size < budget, nodes.count < StateTransferLimits.answerNodes, let subtree = open.popLast() {
            guard let node = node(at: subtree.path, inCheckpoint: request.checkpoint) else { break }
            nodes.append(node)
            size += node.encodedSize
            if subtree.isWhole, case .branch(let branch) = node {
                for step in branch.steps.reversed() {
                    open.append(StateRequest.Subtree(subtree.path.appending(step), isWhole: true))
                }
            }
        }
        return StateAnswer(number: request.number, content: .nodes(nodes))
    }
}

extension StateNode.Branch {
    /// The steps at which there are children, rising.
    var steps: [UInt8] {
        (0..<16).filter { bitmap >> UInt16($0) & 1 == 1 }
    }
}
