import Messages

/// Clients that come and go, and the connections that their keys open and close.
extension World {
    /// Whether a replica takes a connection of a correct client: with the key that the client has there. What faulty clients say arrives in
    /// any case, through accomplices among the replicas or whatever way they find.
    func isAdmitted(_ client: Int, _ replica: Int) -> Bool {
        guard client >= replicas.count, replica < replicas.count, let client = shell(client) as? SimulatedClient,
            client.isCorrect
        else { return true }
        return client.key != nil && client.key == replicas[replica].key(of: client.id)
    }

    func hasKey(_ node: Int) -> Bool {
        (shell(node) as? SimulatedClient)?.key != nil || node < replicas.count
    }

    /// The administrator has asked for a change of a client's key.
    func announceChange(of client: ClientID) {
        clients.first { $0.id == client }?.isUnderChange = true
    }

    /// A client gets the key that an administrator has made its own. A faulty one goes on with the one that it has.
    func giveKey(_ generation: Int, to client: ClientID) {
        guard let client = clients.first(where: { $0.id == client }), client.isCorrect else { return }
        network.disconnectAll(of: client.node)
        client.take(generation: generation)
        for replica in replicas {
            reconnect(client.node, replica.node)
            reconnect(replica.node, client.node)
        }
    }

    /// An administrator has removed a client.
    func shutOut(_ client: ClientID) {
        guard let client = clients.first(where: { $0.id == client }), client.isCorrect else { return }
        network.disconnectAll(of: client.node)
        client.stop()
    }

    /// A replica closes the connections of clients whose keys are void.
    func clientsChanged(_ changed: [ClientID], at replica: SimulatedReplica) {
        if replica.isCorrect { statistics.keyChanges += changed.count }
        for client in clients where changed.contains(client.id) && !isAdmitted(client.node, replica.node) {
            network.disconnect(client.node, replica.node)
            network.disconnect(replica.node, client.node)
            reconnect(client.node, replica.node)
            reconnect(replica.node, client.node)
        }
    }
}
