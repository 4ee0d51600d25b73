using System.IO.Compression;
using System.Text;
using FsCheck;
using FsCheck.Fluent;

namespace Ioasis.Recorder.Tests;

public sealed class RecordingFileTests
{
    [Fact]
    public void A_file_that_is_cut_off_anywhere_is_readable_up_to_its_last_whole_member() =>
        Prop.ForAll(
            Gen.Choose(0, 3000).ListOf(4).Zip(Gen.Choose(0, 100)).ToArbitrary(),
            static pair =>
            {
                (IEnumerable<int> counts, int percent) = pair;
                MemoryStream output = new();
                RecordingFile file = new(output);
                List<(long Length, string Text)> members = [(0, "")];
                foreach (int count in counts)
                {
                    string text = string.Concat(Enumerable.Range(0, count).Select(static i => $"line {i}\n"));
                    file.Add(Encoding.ASCII.GetBytes(text));
                    file.Write();
                    members.Add((file.Length, members[^1].Text + text));
                }

                byte[] cut = output.ToArray()[..(int)(output.Length * percent / 100)];
                string whole = members.Last(member => member.Length <= cut.Length).Text;
                Read(cut).ShouldStartWith(whole);
                members[^1].Text.ShouldStartWith(Read(cut));
            })
            .QuickCheckThrowOnFailure();

    [Fact]
    public void Much_text_becomes_several_members_of_whole_lines()
    {
        MemoryStream output = new();
        RecordingFile file = new(output);
        string text = string.Concat(Enumerable.Range(0, 300_000).Select(static i => $"line {i}\n"));
        file.Add(Encoding.ASCII.GetBytes(text));
        long inMembers = file.Length;
        file.Write();

        inMembers.ShouldBeInRange(1, output.Length - 1);
        Read(output.ToArray()).ShouldBe(text);
        foreach (int start in Starts(output.ToArray()).Skip(1))
        {
            Read(output.ToArray()[..start]).ShouldEndWith("\n");
        }
    }

    private static IEnumerable<int> Starts(byte[] file)
    {
        for (int i = 0; i + 3 < file.Length; i++)
        {
            if (file.AsSpan(i, 4).SequenceEqual((ReadOnlySpan<byte>)[0x1f, 0x8b, 8, 0]))
            {
                yield return i;
            }
        }
    }

    private static string Read(byte[] file)
    {
        using GZipStream gzip = new(new MemoryStream(file), CompressionMode.Decompress);
        return new StreamReader(gzip).ReadToEnd();
    }
}
