extension AssociationProfile {
    /// The largest inner packet that fits, temporarily here.
    public func innerMTUOctets(linkMTU: Int, outer: IPFamily) -> Int {
        let header = outer == .v4 ? 20 : 40
        let room = linkMTU - header - (natTraversal ? 8 : 0)
        if algorithm.securityProtocol == .ah {
            let unit = outer == .v4 ? 4 : 8
            let ah = (12 + algorithm.ivOctets + algorithm.icvOctets + unit - 1) / unit * unit
            return room - ah + (mode == .transport ? header : 0)
        }
        let space = room - 8 - algorithm.ivOctets - algorithm.icvOctets
        let inner = space / 4 * 4 - 2
        return inner + (mode == .transport ? header : 0)
    }
}
