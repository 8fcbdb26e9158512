/** From what somebody drops or chooses to the scans that are in it. */
import type { Part } from './api'

/** The files of one scan, and what to call it until the service has named it. */
export interface Upload {
  name: string
  parts: Part[]
}

/** All files that were dropped, those in folders with their relative names. */
export async function dropped(transfer: DataTransfer): Promise<Part[]> {
  // Taken at once: the list is empty after the event.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null)
  return (await Promise.all(entries.map(filesIn))).flat()
}

/** The files that were chosen in a dialog. */
export function chosen(files: FileList): Part[] {
  return [...files].map((file) => ({ file, name: file.webkitRelativePath || file.name }))
}

/**
 * Which scans these files are: each image file and each archive is one, and what else lies in one folder is a DICOM series.
 *
 * @param formats Endings of image files and archives, as the service gives them.
 */
export function scansIn(parts: Part[], formats: string[]): Upload[] {
  const endings = formats.filter((format) => format.startsWith('.'))
  const scans: Upload[] = []
  const folders = new Map<string, Part[]>()
  for (const part of parts.filter(({ name }) => !isClutter(name))) {
    const lower = part.name.toLowerCase()
    if (endings.some((ending) => lower.endsWith(ending))) {
      scans.push({ name: lastOf(part.name), parts: [part] }) // with its folders, which may name the patient
      continue
    }
    const folder = part.name.includes('/') ? part.name.split('/')[0]! : ''
    folders.set(folder, [...(folders.get(folder) ?? []), part])
  }
  for (const [folder, inside] of folders) scans.push({ name: folder || lastOf(inside[0]!.name), parts: inside })
  return scans
}

function lastOf(name: string): string {
  return name.split('/').at(-1)!
}

function isClutter(name: string): boolean {
  const last = lastOf(name)
  return last.startsWith('.') || ['thumbs.db', 'desktop.ini'].includes(last.toLowerCase()) || name.includes('__MACOSX/')
}

async function filesIn(entry: FileSystemEntry): Promise<Part[]> {
  const name = entry.fullPath.replace(/^\//, '')
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject))
    return [{ file, name }]
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader()
  const inside: FileSystemEntry[] = []
  for (;;) {
    // A hundred at a time, and none when there are no more.
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject))
    if (!some.length) break
    inside.push(...some)
  }
  return (await Promise.all(inside.map(filesIn))).flat()
}
