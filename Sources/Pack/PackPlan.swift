import Storage
package import Tensors

/// What a pack will hold and where, before any weight is read: tensors, their chunks, and the embedded files.
///
/// With `Compression.none` the plan alone fixes every offset, so a dry run is exact to the byte.
package struct PackPlan: Sendable {
  /// A tensor to be packed.
  package struct Tensor: Sendable, Equatable {
    package let name: String
    package let shape: Shape
    package let encoding: Encoding
    /// The plain encoding its source has.
    package let sourceEncoding: Encoding

    /// - Precondition: the encoding divides the shape's columns.
    package init(name: String, shape: Shape, encoding: Encoding, sourceEncoding: Encoding) {
      precondition(encoding.divides(columns: shape.columns))
      self.name = name
      self.shape = shape
      self.encoding = encoding
      self.sourceEncoding = sourceEncoding
    }
  }

  /// What is packed together, in the order of the file.
  package enum Item: Sendable {
    /// One tensor, cut into chunks of rows.
    case tensor(Tensor)
    /// `gate_proj`, `up_proj` and `down_proj` of one expert.
    case expert(layer: Int, expert: Int, gate: Tensor, up: Tensor, down: Tensor)
  }

  /// A file to be embedded.
  package struct File: Sendable {
    package let name: String
    package let bytes: [UInt8]
    package init(name: String, bytes: [UInt8]) {
      self.name = name
      self.bytes = bytes
    }
  }

  /// A chunk of tensors: which of them, which rows, and where their planes go.
  package struct Chunk: Sendable {
    package let kind: ChunkRecord.Kind
    package let layer: Int
    package let expert: Int
    /// Indices into `tensors`.
    package let tensors: Range<Int>
    /// Rows of the tensor; of an expert, unused.
    package let rows: Range<Int>
    package let layout: ContentLayout
  }

  package private(set) var tensors: [Tensor] = []
  package private(set) var chunks: [Chunk] = []
  /// By tensor: where its chunks are and how its rows are cut.
  package private(set) var placements: [Placement] = []
  package let files: [File]

  package struct Placement: Sendable {
    package let firstChunk: Int
    package let chunkCount: Int
    package let rowsPerChunk: Int
    package let planeOffsets: [Int]
  }

  /// Content of a full chunk of rows: small enough that a worker's buffers stay in a budget of a few MiB, large enough
  /// that a hash and a record for each cost nothing.
  package static let standardRowChunkByteCount = 4 << 20
  private let rowChunkByteCount: Int

  /// - Parameter rowChunkByteCount: most bytes of content in a chunk of rows, as long as a row is not longer.
  /// - Throws: `PackError.limit` where the format's limits would be broken.
  package init(
    _ items: [Item], files: [File], rowChunkByteCount: Int = PackPlan.standardRowChunkByteCount
  ) throws(PackError) {
    self.files = files
    self.rowChunkByteCount = rowChunkByteCount
    for item in items {
      switch item {
      case .tensor(let tensor): addRows(of: tensor)
      case .expert(let layer, let expert, let gate, let up, let down):
        addExpert([gate, up, down], layer: layer, expert: expert)
      }
    }
    try checkLimits()
  }

  private mutating func addRows(of tensor: Tensor) {
    let rows = tensor.shape.rows
    let rowByteCount = ContentLayout([
      .init(encoding: tensor.encoding, elementCount: tensor.shape.columns, columns: tensor.shape.columns)
    ]).byteCount
    var rowsPerChunk = max(1, rowChunkByteCount / max(rowByteCount, 1))
    // Multiples of 32 rows make full chunks multiples of 64 bytes, so that raw ones lie end to end.
    if rowsPerChunk > 32 { rowsPerChunk -= rowsPerChunk % 32 }
    rowsPerChunk = min(rowsPerChunk, rows)
    let layouts = stride(from: 0, to: rows, by: rowsPerChunk).map { start in
      let range = start..<min(start + rowsPerChunk, rows)
      let part = ContentLayout.Part(
        encoding: tensor.encoding, elementCount: range.count * tensor.shape.columns, columns: tensor.shape.columns)
      return (range, ContentLayout([part]))
    }
    placements.append(
      Placement(
        firstChunk: chunks.count, chunkCount: layouts.count, rowsPerChunk: rowsPerChunk,
        planeOffsets: layouts[0].1.planes[0].map(\.lowerBound)))
    for (range, layout) in layouts {
      let index = tensors.count
      chunks.append(Chunk(kind: .rows, layer: 0, expert: 0, tensors: index..<index + 1, rows: range, layout: layout))
    }
    tensors.append(tensor)
  }

  private mutating func addExpert(_ projections: [Tensor], layer: Int, expert: Int) {
    let layout = ContentLayout(
      projections.map {
        .init(encoding: $0.encoding, elementCount: $0.shape.elementCount, columns: $0.shape.columns)
      })
    for (tensor, planes) in zip(projections, layout.planes) {
      placements.append(
        Placement(
          firstChunk: chunks.count, chunkCount: 1, rowsPerChunk: tensor.shape.rows,
          planeOffsets: planes.map(\.lowerBound)))
    }
    chunks.append(
      Chunk(
        kind: .expert, layer: layer, expert: expert, tensors: tensors.count..<tensors.count + 3, rows: 0..<0,
        layout: layout))
    tensors += projections
  }

  private func checkLimits() throws(PackError) {
    guard chunks.count + files.count <= PackLimits.maximumChunks, tensors.count <= PackLimits.maximumTensors,
      files.count <= PackLimits.maximumFiles
    else { throw .limit("\(chunks.count) chunks, \(tensors.count) tensors and \(files.count) files are too many") }
    for chunk in chunks where chunk.layout.byteCount > PackLimits.maximumContent {
      throw .limit("a chunk of `\(tensors[chunk.tensors.lowerBound].name)` takes \(chunk.layout.byteCount) bytes")
    }
    for file in files { try PackLimits.check(file: file.name, byteCount: file.bytes.count) }
  }
}
