import CKernels

/// XXH3 with 64 bits and seed 0 of bytes that come in pieces: the same as ``KernelSet/xxh3(_:)`` of all of them.
@safe package struct HashState: ~Copyable {
  private let kernels: KernelSet
  private let state: UnsafeMutableRawPointer

  package init(_ kernels: KernelSet = .best) {
    self.kernels = kernels
    unsafe state = .allocate(byteCount: CK_XXH3_STATE_BYTES, alignment: 64)
    unsafe kernels.table.pointee.xxh3_begin(state)
  }

  deinit { unsafe state.deallocate() }

  package mutating func add(_ bytes: RawSpan) {
    unsafe bytes.withUnsafeBytes { unsafe kernels.table.pointee.xxh3_add(state, $0.baseAddress, $0.count) }
  }

  /// The hash of all bytes so far; more may follow.
  package var hash: UInt64 { unsafe kernels.table.pointee.xxh3_end(state) }
}
