import Tensors
import Models
import Pack
import Safetensors
import Storage

// From a plan back to what it was made of, on a machine that need not have all files.

extension PartPlan {
  /// Plans again what the plan says, and refuses where that comes out otherwise.
  ///
  /// - Parameters:
  ///   - directory: of the checkpoint. Files of weights that are not there are stood for by their headers.
  ///   - path: of the plan, for messages.
  ///   - part: whose files of weights must be there; nil for none.
  package func conversion(
    in directory: String, path: String, for part: Int?
  ) throws(ConversionError) -> ConversionPlan {
    let needed = part.map { Set(parts[$0].shards) } ?? []
    var files: [SafetensorsFile] = []
    var missing: [String] = []
    for source in sources {
      let (file, isNeeded) = try open(source, in: directory)
      files.append(file)
      if file.file.isStandIn, isNeeded || needed.contains(source.name) { missing.append(source.name) }
    }
    guard missing.isEmpty else { throw .part(.shardsMissing(missing, directory: directory)) }
    guard let options = conversionOptions else { throw .part(.planDiffers(member: "options", path: path)) }
    let checkpoint: Checkpoint
    do throws(SafetensorsError) { checkpoint = try Checkpoint(directory: directory, files: files) } catch {
      throw .source(error)
    }
    let plan = try ConversionPlan(checkpoint, options: options)
    let found = try PartPlan(plan, checkpoint: self.checkpoint, states: states, choice: choice, parts: parts.count)
    for file in self.files where !found.files.contains(file) {
      throw .part(.otherSource(name: file.name, directory: directory))
    }
    if let member = found.difference(from: self) { throw .part(.planDiffers(member: member, path: path)) }
    return plan
  }

  /// - Returns: the file, and whether planning itself reads its data.
  private func open(_ source: Source, in directory: String) throws(ConversionError) -> (SafetensorsFile, Bool) {
    let path = "\(directory)/\(source.name)"
    var found: SafetensorsFile?
    do throws(SafetensorsError) { found = try SafetensorsFile(path: path) } catch {
      // A link that leads nowhere is what a cache of a hub has for a file that was not fetched.
      guard case .system(let cause) = error.reason, cause.isMissing || cause.code == FileError.dangling else {
        throw .source(error)
      }
    }
    if let file = found {
      guard file.file.byteCount == source.bytes, XXH3.text(XXH3.hash(file.header)) == source.headerXxh3 else {
        throw .part(.otherSource(name: source.name, directory: directory))
      }
      return (file, false)
    }
    // Nothing stands for a GGUF, whose scales tell how it is read.
    guard !source.name.hasSuffix(Checkpoint.ggufSuffix) else {
      throw .part(.shardsMissing([source.name], directory: directory))
    }
    var header = ByteWriter(capacity: source.header.utf8.count + SafetensorsHeader.lengthByteCount)
    header.append(UInt64(source.header.utf8.count))
    header.append(source.header)
    do throws(SafetensorsError) {
      let file = try SafetensorsFile(standingFor: path, byteCount: source.bytes, header: header.bytes.bytes)
      // The shapes of matrices that are packed already, and the groups of their columns, are data.
      return (file, file.tensors.contains { $0.name.hasSuffix("_shape") || $0.name.hasSuffix(".g_idx") })
    } catch { throw .source(error) }
  }
}
