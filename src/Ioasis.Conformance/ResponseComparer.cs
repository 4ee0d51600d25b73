namespace Ioasis.Conformance;

/// <summary>Compares the response to a transaction, with the freedoms that the format grants and no others.</summary>
internal static class ResponseComparer
{
    /// <summary>Compares.</summary>
    public static void Compare(TransactionRequest request, TransactionResponse expected, TransactionResponse actual, DifferenceList differences)
    {
        bool ats = request.AddressType == 1;
        string section = ats ? SpecificationSections.AtsTranslation : SpecificationSections.Translation;
        if (expected.Status != actual.Status)
        {
            differences.Add("status", StatusName(expected.Status), StatusName(actual.Status), section);
            return;
        }

        if (expected.Status != 0)
        {
            return;
        }

        if (ats)
        {
            Flag("R", expected.Read, actual.Read, section, differences);
            Flag("W", expected.Write, actual.Write, section, differences);
            if (!expected.Read && !expected.Write)
            {
                // No permission: nothing else of the completion has a meaning (section 2.6).
                return;
            }

            Flag("Exe", expected.Execute, actual.Execute, section, differences);
            Flag("Priv", expected.Privileged, actual.Privileged, section, differences);
            Flag("Global", expected.Global, actual.Global, section, differences);
            Flag("U", expected.UntranslatedOnly, actual.UntranslatedOnly, section, differences);
            Flag("N", expected.NoSnoop, actual.NoSnoop, section, differences);
            Flag("AMA", expected.Ama, actual.Ama, section, differences);
            if (expected.CxlIo is bool cxlIo)
            {
                Flag("CXL.io", cxlIo, actual.CxlIo ?? false, section, differences);
            }

            differences.Compare("size", expected.Size, actual.Size, section);
        }

        Flag("MSI", expected.IsMsi, actual.IsMsi, SpecificationSections.MsiTranslation, differences);
        differences.Compare("PBMT", (ulong)expected.MemoryType, (ulong)actual.MemoryType, section);
        if (expected.Mrif is { } mrif)
        {
            if (actual.Mrif is { } got)
            {
                differences.Compare("MRIF address", mrif.Address, got.Address, SpecificationSections.MsiTranslation);
                differences.Compare("notice MSI ID", mrif.NoticeId, got.NoticeId, SpecificationSections.MsiTranslation);
                differences.Compare("notice MSI address", mrif.NoticeAddress, got.NoticeAddress, SpecificationSections.MsiTranslation);
            }
            else
            {
                differences.Add("MRIF", "present", "none", SpecificationSections.MsiTranslation);
            }

            return;
        }

        if (actual.Mrif is not null)
        {
            differences.Add("MRIF", "none", "present", SpecificationSections.MsiTranslation);
        }

        if (expected.Address is ulong address)
        {
            differences.Compare(
                "address", address, actual.Address ?? 0, expected.IsMsi ? SpecificationSections.MsiTranslation : section);
        }
    }

    private static void Flag(string name, bool expected, bool actual, string section, DifferenceList differences) =>
        differences.Compare(name, expected ? 1ul : 0, actual ? 1ul : 0, section);

    private static string StatusName(int status) => status switch
    {
        0 => "success",
        1 => "unsupported request",
        4 => "completer abort",
        _ => DifferenceList.Hex((ulong)status),
    };
}
