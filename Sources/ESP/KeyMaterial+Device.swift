extension KeyMaterial {
    /// Where the key lies, with its salt behind it, for a device's driver, which may look there for as long as the
    /// caller keeps this object.
    public var deviceKey: UnsafePointer<UInt8> {
        unsafe UnsafePointer(secret.assumingMemoryBound(to: UInt8.self))
    }
}
