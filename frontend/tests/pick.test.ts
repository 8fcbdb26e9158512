import { expect, test } from 'vitest'
import type { Part } from '../src/page/api'
import { scansIn } from '../src/page/pick'

const FORMATS = ['.nii.gz', '.nii', 'DICOM', '.zip']
const part = (name: string): Part => ({ file: new File(['x'], name.split('/').at(-1)!), name })
const told = (names: string[]): [string, string[]][] =>
  scansIn(names.map(part), FORMATS).map((scan) => [scan.name, scan.parts.map(({ name }) => name)])

test('each image file and each archive is a scan, whatever its case', () => {
  expect(told(['a.nii.gz', 'study/B.NII', 'c.zip'])).toEqual([
    ['a.nii.gz', ['a.nii.gz']],
    ['B.NII', ['study/B.NII']],
    ['c.zip', ['c.zip']],
  ])
})

test('what else lies in a folder is one series, and keeps its names', () => {
  expect(told(['CT/1/IM001', 'CT/1/IM002', 'other/IM1.dcm'])).toEqual([
    ['CT', ['CT/1/IM001', 'CT/1/IM002']],
    ['other', ['other/IM1.dcm']],
  ])
})

test('loose DICOM files are one series, called after the first', () => {
  expect(told(['IM1', 'IM2'])).toEqual([['IM1', ['IM1', 'IM2']]])
})

test('clutter of operating systems is left out', () => {
  expect(told(['CT/.DS_Store', 'CT/Thumbs.db', '__MACOSX/CT/._IM1', 'CT/IM1'])).toEqual([['CT', ['CT/IM1']]])
  expect(told(['.DS_Store'])).toEqual([])
})
