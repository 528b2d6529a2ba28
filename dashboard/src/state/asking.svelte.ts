/** The question that the `why` panel answers, from wherever it was asked. */

export interface WhyQuestion {
  requestId?: string;
  from?: string;
  to?: string;
  method?: string;
  path?: string;
}

let question = $state.raw<WhyQuestion | null>(null);

export const asking = {
  get question(): WhyQuestion | null {
    return question;
  },
  why(next: WhyQuestion): void {
    question = next;
  },
  close(): void {
    question = null;
  },
};
