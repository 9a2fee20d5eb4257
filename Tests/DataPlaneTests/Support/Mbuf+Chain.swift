import CDPDK

@testable import DataPlane

extension Mbuf {
    /// Puts another buffer behind those of the chain that this one begins.
    func chain(_ next: Mbuf) {
        let error = unsafe rte_pktmbuf_chain(OpaquePointer(pointer), OpaquePointer(next.pointer))
        precondition(error == 0, "a test's chain is not too long")
    }
}
