using System.Text;

namespace Ioasis.Explain.Meaning;

/// <summary>The name of an enumeration's value as words: <c>PasidEntryNotPresent</c> is "PASID entry not present".</summary>
internal static class EnumWords
{
    /// <summary>Makes the words.</summary>
    public static string Of(Enum value)
    {
        string name = value.ToString();
        StringBuilder words = new(name.Length + 8);
        foreach (char letter in name)
        {
            if (char.IsUpper(letter) && words.Length > 0)
            {
                words.Append(' ');
            }

            words.Append(char.ToLowerInvariant(letter));
        }

        return words.Replace("pasid", "PASID").Replace("tlb", "TLB").Replace("rid PASID", "RID_PASID").ToString();
    }
}
