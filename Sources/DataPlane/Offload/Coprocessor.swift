import CDPDK
import ESP
import IPsec

/// A device that encrypts and decrypts beside the packets' way: DPDK's cryptodev. Workers give it packets by lanes, one
/// each, and fetch them later. Only AES-128-GCM with an ICV of 16 octets.
///
/// Sessions are one thread's at a time; a lane is its worker's.
@safe
public final class Coprocessor: @unchecked Sendable {
    /// Devices that a gateway may have.
    public static let limit = 16

    /// As the site names it.
    public let name: String
    /// DPDK's name of the driver.
    public let driver: String
    /// Sessions, one for each SA, that it has room for.
    public let sessionLimit: Int
    let lanes: [CoprocessorLane]
    /// Sessions it has.
    private(set) var sessions: Set<UInt64> = []
    private let device: UInt8
    private let pool: UnsafeMutableRawPointer

    /// Finds the device that the site calls `name` among EAL's and starts it with a queue pair for each worker, room
    /// for `sessions` or as many as it has, and `operations` under way at once in each lane. Throws `.noCoprocessor`,
    /// `.coprocessorFailed` and `.noMemory`.
    public init(_ name: String, workers: Int, sessions: Int) throws(DataPlaneError) {
        let number = unsafe cdpdk_crypto_by_name(Environment.Settings.portName(name))
        guard let device = UInt8(exactly: number) else { throw .noCoprocessor(device: name) }
        var state = unsafe cdpdk_crypto_state()
        let operations = UInt32(Worker.crossingLimit)
        unsafe cdpdk_crypto_start(device, UInt16(workers), operations * 2, UInt32(sessions), &state)
        let driver = unsafe withUnsafeBytes(of: &state.driver) { octets in
            unsafe String(decoding: octets.prefix { $0 != 0 }, as: UTF8.self)
        }
        if let step = unsafe state.failed_step {
            throw unsafe .coprocessorFailed(
                device: name, driver: driver, step: String(cString: step), error: state.error)
        }
        let limit = unsafe Int(state.sessions)
        guard let pool = unsafe cdpdk_crypto_pool_create(device, "crypto-\(device)-sessions", UInt32(limit)) else {
            cdpdk_crypto_close(device)
            throw .noMemory(what: "\(limit) sessions of \(name)", error: cdpdk_errno())
        }
        var lanes: [CoprocessorLane] = []
        for worker in 0..<workers {
            let lane = unsafe cdpdk_lane_create(device, UInt16(worker), "crypto-\(device)-\(worker)", operations)
            guard let lane = unsafe lane else {
                let error = cdpdk_errno()
                for lane in lanes { unsafe _ = cdpdk_lane_free(lane.pointer) }
                unsafe cdpdk_crypto_pool_free(pool)
                cdpdk_crypto_stop(device)
                cdpdk_crypto_close(device)
                throw .noMemory(what: "\(operations) operations of \(name)", error: error)
            }
            unsafe lanes.append(CoprocessorLane(lane))
        }
        self.name = name
        self.driver = driver
        sessionLimit = limit
        self.lanes = lanes
        self.device = device
        unsafe self.pool = unsafe pool
    }

    /// Gives it an SA's key; the session's address, of 48 bits. Nil when the driver does not take it.
    func makeSession(_ direction: Direction, _ key: KeyMaterial) -> UInt64? {
        precondition(key.algorithm == .aes128GCM16)
        guard sessions.count < sessionLimit,
            let session = unsafe cdpdk_crypto_session_create(device, key.deviceKey, direction == .outbound, pool)
        else { return nil }
        let address = UInt64(UInt(bitPattern: session))
        sessions.insert(address)
        return address
    }

    /// Takes a session from it, under which nothing is under way.
    func destroySession(_ address: UInt64) {
        guard sessions.remove(address) != nil, let session = unsafe UnsafeMutableRawPointer(bitPattern: UInt(address))
        else { return }
        unsafe cdpdk_crypto_session_destroy(device, session)
    }

    /// Stops it, when no worker runs any more; returns how many packets it still had, which are freed. It may not be
    /// used after that.
    @discardableResult
    public func close() -> Int {
        cdpdk_crypto_stop(device)
        for session in sessions { destroySession(session) }
        let kept = lanes.reduce(0) { unsafe $0 + Int(cdpdk_lane_free($1.pointer)) }
        unsafe cdpdk_crypto_pool_free(pool)
        cdpdk_crypto_close(device)
        return kept
    }
}

/// How a worker knows an SA that a coprocessor has: which one in the upper 16 bits, above every port's number, and
/// below them the session's address.
enum CoprocessorHandle {
    private static let first = 0xff00

    static func make(device: Int, session: UInt64) -> UInt64 { UInt64(first + device) << 48 | session }

    /// Whether a handle, of any SA, is of a coprocessor's.
    @inline(__always)
    static func isOne(_ handle: UInt64) -> Bool { handle >> 48 >= first }

    @inline(__always)
    static func device(_ handle: UInt64) -> Int { Int(handle >> 48) &- first }

    static func session(_ handle: UInt64) -> UInt64 { handle & 0xffff_ffff_ffff }
}
