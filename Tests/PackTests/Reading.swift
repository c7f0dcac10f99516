import Pack
import Storage
import Tensors
import TestSupport

/// What `PackCheck` finds in these bytes.
func violations(_ bytes: [UInt8], in directory: String, threads: Int = 1) throws -> [PackViolation] {
  let path = directory + "/checked.ingot"
  try write(bytes, to: path)
  return try PackCheck(path: path).run(threads: threads).violations
}

/// What opening refuses; nil where it does not.
func openingRefusal(_ path: String) throws -> PackViolation? {
  do throws(PackError) {
    _ = try PackFile(path: path)
    return nil
  } catch {
    guard case .broken(let violation, _) = error else { throw error }
    return violation
  }
}

/// What `verifyTables` refuses; nil where it does not.
func tablesRefusal(_ path: String) throws -> PackViolation? {
  let file = try PackFile(path: path)
  do throws(PackError) {
    try file.verifyTables()
    return nil
  } catch {
    guard case .broken(let violation, _) = error else { throw error }
    return violation
  }
}

/// Every tensor and file of a pack read as a runtime would: planes and contents, never out of range. Returns how many
/// bytes could be read; what cannot be read must throw.
@discardableResult
func readEverything(_ path: String) -> Int {
  guard let pack = try? PackFile(path: path) else { return 0 }
  var total = 0
  let codec = ChunkCodec()
  for index in 0..<pack.header.tensorCount {
    guard let tensor = try? pack.tensor(index) else { continue }
    _ = try? pack.tensor(named: tensor.name)
    for position in 0..<min(tensor.chunkCount, 64) { total += readPlanes(of: tensor, position, pack, codec) }
  }
  for file in (try? pack.files) ?? [] { total += ((try? pack.file(named: file.name)) ?? []).count }
  return total
}

private func readPlanes(of tensor: TensorRecord, _ position: Int, _ pack: PackFile, _ codec: ChunkCodec) -> Int {
  guard let content = try? pack.content(ofChunk: tensor.firstChunk + position, codec: codec),
    let (_, planes) = try? pack.planes(of: tensor, chunk: position)
  else { return 0 }
  let bytes = content.bytes
  return planes.reduce(0) { sum, plane in
    let view = bytes.extracting(plane)
    var seen = 0
    for index in 0..<view.byteCount where view.unsafeByte(at: index) >= 0 { seen += 1 }
    return sum + seen
  }
}

extension RawSpan {
  fileprivate func unsafeByte(at index: Int) -> UInt8 { integer(at: index) }
}
