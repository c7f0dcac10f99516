import CKernels

/// BLAKE3 with 256 bits, without a key, of bytes that come in pieces.
///
/// The bytes are chunks of 1,024, the leaves of a tree that is as full as it can be from the left. Kernels hash many leaves, and then
/// many pairs of values, side by side.
package struct BLAKE3: Sendable {
  /// 32 bytes.
  package struct Digest: Sendable, Equatable {
    package let bytes: [UInt8]

    package init(bytes: [UInt8]) { self.bytes = bytes }

    /// What stands where a digest will be.
    package static let unknown = Digest(bytes: [UInt8](repeating: 0, count: BLAKE3.valueByteCount))

    /// 64 hexadecimal digits.
    package var text: String {
      let digits = Array("0123456789abcdef".utf8)
      return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }
  }

  private static let chunkByteCount = CK_BLAKE3_CHUNK_BYTES
  private static let valueByteCount = CK_BLAKE3_VALUE_BYTES
  /// Chunks that are hashed together, a power of two: a subtree.
  private static let groupChunkCount = 128
  private static let groupByteCount = groupChunkCount * chunkByteCount

  private let kernels: KernelSet
  /// Bytes of the last group, which may be a whole one: what follows decides whether the tree goes on.
  private var pending: [UInt8] = []
  /// The values of subtrees of whole groups, which get smaller.
  private var subtrees: [[UInt8]] = []
  private var groupCount = 0

  package init(_ kernels: KernelSet = .best) { self.kernels = kernels }

  /// The digest of bytes that are there at once.
  package static func hash(_ bytes: RawSpan, _ kernels: KernelSet = .best) -> Digest {
    var state = BLAKE3(kernels)
    state.add(bytes)
    return state.digest
  }

  package mutating func add(_ bytes: RawSpan) {
    var rest = bytes
    while !rest.isEmpty {
      if pending.isEmpty, rest.byteCount > Self.groupByteCount {
        addGroup(rest.extracting(first: Self.groupByteCount))
        rest = rest.extracting(Self.groupByteCount...)
        continue
      }
      if pending.count == Self.groupByteCount {
        let whole = pending
        pending.removeAll(keepingCapacity: true)
        unsafe addGroup(whole.span.bytes)
      }
      let taken = min(rest.byteCount, Self.groupByteCount - pending.count)
      unsafe rest.extracting(first: taken).withUnsafeBytes { unsafe pending.append(contentsOf: $0) }
      rest = rest.extracting(taken...)
    }
  }

  /// Of all bytes so far; more may follow.
  package var digest: Digest {
    let chunkCount = max(1, (pending.count + Self.chunkByteCount - 1) / Self.chunkByteCount)
    let whole = chunkCount - 1
    let isOnlyChunk = chunkCount == 1 && subtrees.isEmpty
    let first = groupCount * Self.groupChunkCount
    let bytes = unsafe pending.span.bytes
    // The last chunk, which may be short, by itself.
    let last = end(
      bytes.extracting((whole * Self.chunkByteCount)...), isChunk: true, counter: first + whole, isRoot: isOnlyChunk)
    guard !isOnlyChunk else { return Digest(bytes: last) }
    var values =
      values(of: bytes.extracting(first: whole * Self.chunkByteCount), count: whole, isChunk: true, first: first) + last
    while values.count > Self.valueByteCount {
      if values.count == 2 * Self.valueByteCount, subtrees.isEmpty {
        return Digest(bytes: parent(values, isRoot: true))
      }
      values = level(above: values)
    }
    for (index, left) in subtrees.enumerated().reversed() { values = parent(left + values, isRoot: index == 0) }
    return Digest(bytes: values)
  }

  private mutating func addGroup(_ bytes: RawSpan) {
    var values = values(
      of: bytes, count: Self.groupChunkCount, isChunk: true, first: groupCount * Self.groupChunkCount)
    while values.count > Self.valueByteCount { values = level(above: values) }
    groupCount += 1
    // Two subtrees of one size become one.
    var number = groupCount
    while number % 2 == 0 {
      values = parent(subtrees.removeLast() + values, isRoot: false)
      number /= 2
    }
    subtrees.append(values)
  }

  /// The values of pairs; what has no neighbour goes up as it is.
  private func level(above values: [UInt8]) -> [UInt8] {
    let count = values.count / Self.valueByteCount
    let pairs = unsafe values.span.bytes.extracting(first: count / 2 * 2 * Self.valueByteCount)
    return self.values(of: pairs, count: count / 2, isChunk: false) + values.suffix(count % 2 * Self.valueByteCount)
  }

  private func values(of bytes: RawSpan, count: Int, isChunk: Bool, first: Int = 0) -> [UInt8] {
    guard count > 0 else { return [] }
    precondition(bytes.byteCount == count * (isChunk ? Self.chunkByteCount : 2 * Self.valueByteCount))
    return unsafe [UInt8](unsafeUninitializedCapacity: count * Self.valueByteCount) { values, initializedCount in
      unsafe bytes.withUnsafeBytes { bytes in
        unsafe kernels.table.pointee.blake3(
          bytes.baseAddress!, count, isChunk ? 1 : 0, UInt64(first), values.baseAddress!)
      }
      initializedCount = count * Self.valueByteCount
    }
  }

  private func parent(_ pair: [UInt8], isRoot: Bool) -> [UInt8] {
    unsafe end(pair.span.bytes, isChunk: false, counter: 0, isRoot: isRoot)
  }

  private func end(_ bytes: RawSpan, isChunk: Bool, counter: Int, isRoot: Bool) -> [UInt8] {
    unsafe [UInt8](unsafeUninitializedCapacity: Self.valueByteCount) { value, initializedCount in
      unsafe bytes.withUnsafeBytes { bytes in
        unsafe ck_blake3_end(
          bytes.baseAddress, bytes.count, isChunk ? 1 : 0, UInt64(counter), isRoot ? 1 : 0, value.baseAddress!)
      }
      initializedCount = Self.valueByteCount
    }
  }
}
