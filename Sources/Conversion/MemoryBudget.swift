import Calibration
import Models
import Pack
import Storage

/// How much anonymous memory a conversion takes, and how many chunks may therefore be under way at once.
///
/// What of the source is in the page cache is mapped and costs nothing. What is not is read past the cache into a buffer
/// for each reader, if there is room for that; FP8 and codes as numbers are decoded into another. Beside, each chunk under way takes a content, and with
/// zstd a split copy and a frame.
package struct MemoryBudget: Sendable, Equatable {
  /// The program itself: runtime, stacks, code that was written to by relocation.
  private static let program = 20 << 20
  /// Planning structures for one tensor: names, records, tables. Measured on a flash-shaped checkpoint, with a margin.
  private static let bytesPerTensor = 2200
  /// So many threads more than encode, so that the disk has something to do while all that encode do so.
  private static let waiting = 2
  /// Source bytes read at once: a whole number of groups, large enough for the disk and small enough for the caches.
  static let pieceByteCount = 4 << 20

  /// Chunks that may exist at once.
  package let window: Int
  /// Threads that read the source past the page cache; 0 when all of it is mapped.
  package let readers: Int
  /// Chunks that may be on their way to the disk beside those.
  package let writes: Int
  /// Expected peak in bytes.
  package let peak: Int

  /// - Throws: ``ConversionError/memory(needed:limit:)`` when not even one chunk fits.
  package init(_ plan: ConversionPlan, limit: Int, threads: Int, statesHeld: Int = 0) throws(ConversionError) {
    let largest = plan.pack.chunks.map(\.layout.byteCount).max() ?? 0
    let content = ChunkCodec.bufferByteCount(contentLength: largest, plan.options.compression)
    let working = ChunkCodec.workingBytes(contentLength: largest, plan.options.compression)
    let reading = ReadOnlyFile.bufferByteCount(Self.pieceByteCount)
    let files = plan.pack.files.reduce(0) { $0 + $1.bytes.count }
    let (solving, states) = Self.solving(plan)
    let fixed = Self.program + Self.bytesPerTensor * plan.pack.tensors.count + 2 * files + states + statesHeld
    // Codes as numbers have a plane of codes beside them, and what their groups go by.
    let decoding =
      plan.sources.contains { $0.codesAsNumbers != nil }
      ? 2 * reading : plan.sources.contains { $0.bytes?.scales != nil } ? reading : 0
    func workers(_ window: Int, _ isRoomy: Bool) -> Int { min(window, isRoomy ? threads + Self.waiting : threads) }
    // A finished chunk that waits for its turn needs no working memory, so only threads count for that.
    func needed(_ window: Int, isRoomy: Bool) -> Int {
      let depth = isRoomy ? SequentialOutput.usefulDepth : 0
      return fixed + SequentialOutput.workingBytes(depth: depth) + (window + depth) * content
        + workers(window, isRoomy) * (working + decoding + (isRoomy ? reading : 0)) + min(window, threads) * solving
    }
    guard needed(1, isRoomy: false) <= limit else { throw .memory(needed: needed(1, isRoomy: false), limit: limit) }
    // More than four a thread brings nothing: the writer is then the bottleneck, or the reader is.
    let most = 4 * threads
    let fitting = (2...max(most, 2)).last { needed($0, isRoomy: true) <= limit }
    window = fitting ?? (1...most).last { needed($0, isRoomy: false) <= limit } ?? 1
    readers = fitting.map { workers($0, true) } ?? 0
    writes = fitting == nil ? 0 : SequentialOutput.usefulDepth
    peak = needed(window, isRoomy: fitting != nil)
  }

  /// Bytes of one thread that solves an expert, and of what all of them know of a layer: routes, users, moments.
  private static func solving(_ plan: ConversionPlan) -> (each: Int, shared: Int) {
    guard let document = plan.options.calibration else { return (0, 0) }
    let configuration = plan.model.configuration
    let columns = configuration.hiddenSize
    let rows = configuration.expertIntermediateSize
    let damage =
      plan.options.target == nil
      ? 0
      : LayerSolver.damageByteCount(columns: columns, rows: rows, tokens: document.rows)
    return (
      LayerSolver.workingByteCount(columns: columns, rows: rows) + damage,
      // Routes, and users by expert, whose arrays have room for twice as many.
      56 * document.rows * document.sizes.slots + 8 * columns * columns
    )
  }
}
