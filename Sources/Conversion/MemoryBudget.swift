import Pack

/// How much anonymous memory a conversion takes, and how many chunks may therefore be under way at once.
///
/// The source is mapped, so its pages belong to the page cache and can be dropped at any time; what counts is what we
/// allocate: a content for each chunk under way, and with zstd a split copy and a frame beside it.
package struct MemoryBudget: Sendable, Equatable {
  /// The program itself: runtime, stacks, code that was written to by relocation.
  private static let program = 20 << 20
  /// Planning structures for one tensor: names, records, tables. Measured on a flash-shaped checkpoint, with a margin.
  private static let bytesPerTensor = 2200

  /// Chunks that may exist at once.
  package let window: Int
  /// Expected peak in bytes.
  package let peak: Int

  /// - Throws: ``ConversionError/memory(needed:limit:)`` when not even one chunk fits.
  package init(_ plan: ConversionPlan, limit: Int, threads: Int) throws(ConversionError) {
    let largest = plan.pack.chunks.map(\.layout.byteCount).max() ?? 0
    let working = ChunkCodec.workingBytes(contentLength: largest, plan.options.compression)
    let files = plan.pack.files.reduce(0) { $0 + $1.bytes.count }
    let fixed = Self.program + Self.bytesPerTensor * plan.pack.tensors.count + 2 * files
    // A finished chunk that waits for its turn needs no working memory, so only threads count for that.
    func needed(window: Int) -> Int { fixed + window * largest + min(window, threads) * working }
    guard needed(window: 1) <= limit else { throw .memory(needed: needed(window: 1), limit: limit) }
    // More than four a thread brings nothing: the writer is then the bottleneck, or the reader is.
    var window = 4 * threads
    while window > 1, needed(window: window) > limit { window -= 1 }
    self.window = window
    peak = needed(window: window)
  }
}
