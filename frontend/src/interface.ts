// What the server answers, as its OpenAPI document tells.

import type { Language } from "./config";

export type Decision = "fracture" | "doubt" | "no_fracture" | "not_a_radiograph";
export type Status = "queued" | "running" | "succeeded" | "failed" | "cancelled";
export type Grade = "fracture" | "doubt";
export type Box = [number, number, number, number];
export type Verdict = "fracture" | "no_fracture" | "unsure" | "unusable";
export type BoxStatus = "accepted" | "rejected" | "redrawn" | "added";

export interface Bone {
  present: boolean;
  area_fraction: number;
  confidence: number;
}

export interface Fracture {
  box_xyxy_px: Box;
  score: number;
  probability: number;
  grade: Grade;
  text?: Record<Language, string>; // on which bone, once bones are found
  outside_bone?: boolean;
}

export interface Findings {
  height_px: number;
  width_px: number;
  bone: Bone;
  decision: Decision;
  suspicion?: { score: number; probability: number | null } | null; // of the whole picture
  damage?: { score: number; probability: number | null } | null; // likewise, by each bone too, once bones are found
  fractures: Fracture[];
  timing_ms: Record<string, number>;
  bones?: unknown[]; // once they are found
}

export interface Fault {
  type: string;
  message: string;
  hint: string;
}

export interface Links {
  self: string;
  events: string;
  image: string;
  thumbnail: string;
  pixels: string;
  bone: string;
  bones: string;
  overlay: string;
  report: string;
}

export interface Summary {
  id: string;
  status: Status;
  progress: number;
  name: string;
  size_bytes: number;
  created_at: string;
  decision: Decision | null;
  page_count: number;
  error: Fault | null;
  links: Links;
  study: string;
  seen: boolean;
}

export interface Analysis extends Summary {
  pages: Findings[];
}

export interface Preview {
  bone: Bone;
  wanted: boolean;
  reason: "no_bone" | "small_area" | "low_confidence" | null;
  cuts: { area_fraction: number; confidence: number };
  mask: string;
  image?: string | null;
}

export interface BoneShape {
  image_id: number; // page, from 1
  category_id: number;
  label: string;
  score: number;
  bbox: [number, number, number, number]; // x, y, width, height
  area: number;
  segmentation: number[][]; // x, y, x, y, ... of each part
  inside_xy_px: [number, number];
  damage?: { score: number; probability: number | null } | null; // how likely it is broken
}

export interface Bones {
  status: Status;
  error: Fault | null;
  categories: { id: number; name: string; names: Record<Language, string>; colour: string }[];
  annotations: BoneShape[];
}

export interface Accepted {
  analyses: Analysis[];
  errors: (Fault & { source: string })[];
}

export interface Page {
  analyses: Summary[];
  next_cursor: string | null;
}

export interface ReadBox {
  box_xyxy_px: Box;
  status: BoxStatus;
  of: number | null;
}

export interface Answer {
  page: number;
  verdict: Verdict;
  comment: string;
  boxes: ReadBox[];
}

export interface KeptAnswer extends Answer {
  author: string;
  created_at: string;
}

export const finished = (status: Status): boolean => status !== "queued" && status !== "running";
