import FuzzSupport
import Pack
import Storage
import Tensors

/// A pack of any bytes is refused or read, never out of range; what the check accepts, opening and reading accept.
///
/// The first byte says which hashes are made right before, so that the fuzzer need not guess eight bytes of a hash:
/// bit 0 the header's, bit 1 the tables', bit 2 the chunks'; bit 3 makes the lengths of the header fit.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = unsafe Array(UnsafeBufferPointer(start: start, count: count))
  guard let first = input.first else { return 0 }
  var pack = Array(input.dropFirst())
  if pack.count >= 256 { seal(&pack, first) }
  store(pack)
  check(filePath)
  return 0
}

private func seal(_ pack: inout [UInt8], _ choice: UInt8) {
  let tables = Int(clamping: integer(pack, 40) as UInt64)
  if choice & 8 != 0, tables >= 256, tables <= pack.count {
    set(&pack, 32, UInt64(pack.count))
    set(&pack, 48, UInt64(pack.count - tables))
  }
  if tables >= 256, tables <= pack.count {
    if choice & 4 != 0 { sealChunks(&pack, tables) }
    if choice & 2 != 0 { set(&pack, 56, hash(pack, tables..<pack.count)) }
  }
  if choice & 1 != 0 { set(&pack, 248, hash(pack, 0..<248)) }
}

private func sealChunks(_ pack: inout [UInt8], _ tables: Int) {
  for record in stride(from: tables, to: pack.count - 63, by: 64).prefix(Int(integer(pack, 64) as UInt32)) {
    let offset = Int(clamping: integer(pack, record) as UInt64)
    let length = Int(clamping: integer(pack, record + 8) as UInt64)
    guard offset <= tables, length <= tables - offset else { continue }
    let computed = hash(pack, offset..<offset + length)
    set(&pack, record + 32, computed)
    if pack[record + 53] == 0 { set(&pack, record + 40, computed) }
  }
}

private func hash(_ bytes: [UInt8], _ range: Range<Int>) -> UInt64 {
  let span = bytes.bytes
  return XXH3.hash(span.extracting(range))
}

private func integer<T: FixedWidthInteger & BitwiseCopyable>(_ bytes: [UInt8], _ position: Int) -> T {
  let span = bytes.bytes
  return span.integer(at: position)
}

private func set(_ bytes: inout [UInt8], _ position: Int, _ value: UInt64) {
  for byte in 0..<8 { bytes[position + byte] = UInt8(truncatingIfNeeded: value >> UInt64(8 * byte)) }
}

private func check(_ path: String) {
  guard let checker = try? PackCheck(path: path), let report = try? checker.run(threads: 1) else {
    fatalError("a file that is there cannot be read")
  }
  for violation in report.violations where violation.detail.isEmpty || (violation.byteRange ?? 0..<0).lowerBound < 0 {
    fatalError("a violation without words: \(violation)")
  }
  guard let pack = try? PackFile(path: path) else {
    guard !report.violations.isEmpty else { fatalError("opening refuses what the check accepts") }
    return
  }
  let verified = (try? pack.verifyTables()) != nil
  guard verified || !report.violations.isEmpty else { fatalError("verifyTables refuses what the check accepts") }
  let complete = read(pack)
  guard complete || !report.violations.isEmpty else { fatalError("reading refuses what the check accepts") }
}

/// Reads every tensor and file; false where something was refused.
private func read(_ pack: PackFile) -> Bool {
  var isComplete = true
  let codec = ChunkCodec()
  for index in 0..<min(pack.header.tensorCount, 64) {
    guard let tensor = try? pack.tensor(index) else {
      isComplete = false
      continue
    }
    if tensor.encoding == nil { continue }
    for position in 0..<min(tensor.chunkCount, 16) {
      guard let content = try? pack.content(ofChunk: tensor.firstChunk + position, codec: codec),
        let (_, planes) = try? pack.planes(of: tensor, chunk: position)
      else {
        isComplete = false
        continue
      }
      let bytes = content.bytes
      for plane in planes where !plane.isEmpty {
        let view = bytes.extracting(plane)
        guard view.byteCount == plane.count else { fatalError("a short view") }
        _ = XXH3.hash(view)  // touches every byte
      }
    }
  }
  for file in (try? pack.files) ?? [] where (try? pack.file(named: file.name)) == nil { isComplete = false }
  return isComplete
}
