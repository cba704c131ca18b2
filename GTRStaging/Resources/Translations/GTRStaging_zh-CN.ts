<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE TS>
<!-- UNREVIEWED: no speaker of Chinese has reviewed these translations. English counts where they differ. -->
<TS version="2.1" language="zh_CN" sourcelanguage="en">
<context>
    <name>GTRStaging</name>
    <message>
        <source>1. Input</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">1. 输入</translation>
    </message>
    <message>
        <source>2. Key slice</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">2. 关键层面</translation>
    </message>
    <message>
        <source>3. Stage</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">3. 分期</translation>
    </message>
    <message>
        <source>4. Attention</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">4. 注意力</translation>
    </message>
    <message>
        <source>5. Agreement</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">5. 一致性</translation>
    </message>
    <message>
        <source>6. Nomogram</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">6. 列线图</translation>
    </message>
    <message>
        <source>7. Report</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">7. 报告</translation>
    </message>
    <message>
        <source>8. Batch</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">8. 批处理</translation>
    </message>
    <message>
        <source>&amp;CT volume:</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">&amp;CT 图像：</translation>
    </message>
    <message>
        <source>&amp;Tumour (optional):</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">肿瘤（可选）(&amp;T)：</translation>
    </message>
    <message>
        <source>Stomach (optional):</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">胃（可选）：</translation>
    </message>
    <message>
        <source>&amp;Model:</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">模型(&amp;M)：</translation>
    </message>
    <message>
        <source>Model car&amp;d…</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">模型卡(&amp;D)…</translation>
    </message>
    <message>
        <source>Import…</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">导入…</translation>
    </message>
    <message>
        <source>Folder</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">文件夹</translation>
    </message>
    <message>
        <source>Packages:</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">软件包：</translation>
    </message>
    <message>
        <source>L&amp;ight (60 MB)…</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">精简安装（60 MB）(&amp;I)…</translation>
    </message>
    <message>
        <source>From &amp;folder…</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">从文件夹(&amp;F)…</translation>
    </message>
    <message>
        <source>New segment</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">新建分割</translation>
    </message>
    <message>
        <source>TotalSegmentator…</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">TotalSegmentator…</translation>
    </message>
    <message>
        <source>Use current &amp;slice</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">使用当前层面(&amp;S)</translation>
    </message>
    <message>
        <source>&amp;Largest tumour section</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">肿瘤最大截面(&amp;L)</translation>
    </message>
    <message>
        <source>&amp;Key slice:</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">关键层面(&amp;K)：</translation>
    </message>
    <message>
        <source>Propose ke&amp;y slice</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">建议关键层面(&amp;Y)</translation>
    </message>
    <message>
        <source>Run &amp;on:</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">运行设备(&amp;O)：</translation>
    </message>
    <message>
        <source>&amp;Apply</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">应用(&amp;A)</translation>
    </message>
    <message>
        <source>Ca&amp;ncel</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">取消(&amp;N)</translation>
    </message>
    <message>
        <source>Stage along the scan</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">沿扫描方向分期</translation>
    </message>
    <message>
        <source>Show profile</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">显示曲线</translation>
    </message>
    <message>
        <source>Show its table</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">显示其表格</translation>
    </message>
    <message>
        <source>M&amp;ethod:</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">方法(&amp;E)：</translation>
    </message>
    <message>
        <source>Attention fo&amp;r:</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">注意力对应(&amp;R)：</translation>
    </message>
    <message>
        <source>O&amp;pacity:</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">不透明度(&amp;P)：</translation>
    </message>
    <message>
        <source>Sho&amp;w from:</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">显示起点(&amp;W)：</translation>
    </message>
    <message>
        <source>T&amp;hreshold:</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">阈值(&amp;H)：</translation>
    </message>
    <message>
        <source>Colour le&amp;gend</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">颜色图例(&amp;G)</translation>
    </message>
    <message>
        <source>O&amp;utline</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">轮廓(&amp;U)</translation>
    </message>
    <message>
        <source>Show o&amp;ver the CT</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">叠加到 CT 上(&amp;V)</translation>
    </message>
    <message>
        <source>Show threshold sweep</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">显示阈值曲线</translation>
    </message>
    <message>
        <source>Show as ta&amp;ble</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">以表格显示(&amp;B)</translation>
    </message>
    <message>
        <source>E&amp;xport report</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">导出报告(&amp;X)</translation>
    </message>
    <message>
        <source>Show in folder</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">在文件夹中显示</translation>
    </message>
    <message>
        <source>Case table:</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">病例表：</translation>
    </message>
    <message>
        <source>Results in:</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">结果保存在：</translation>
    </message>
    <message>
        <source>Run batch</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">运行批处理</translation>
    </message>
    <message>
        <source>Stop batch</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">停止批处理</translation>
    </message>
    <message>
        <source>Open folder</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">打开文件夹</translation>
    </message>
    <message>
        <source>Show table</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">显示表格</translation>
    </message>
    <message>
        <source>Open case</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">打开病例</translation>
    </message>
    <message>
        <source>&lt;b&gt;Research use only. Not a medical device; not for diagnosis or treatment decisions.&lt;/b&gt;</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">&lt;b&gt;仅供研究使用。不是医疗器械；不得用于诊断或治疗决策。&lt;/b&gt;</translation>
    </message>
    <message>
        <source>Choose the CT volume first.</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">请先选择 CT 图像。</translation>
    </message>
    <message>
        <source>Stage a case first.</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">请先对一个病例进行分期。</translation>
    </message>
</context>
<context>
    <name>GTRStagingSlicer.scene_staging</name>
    <message>
        <source>Choose the CT volume first.</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">请先选择 CT 图像。</translation>
    </message>
    <message>
        <source>Choose the key slice: the slice that shows the tumour best.</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">请选择关键层面：肿瘤显示最清楚的层面。</translation>
    </message>
</context>
<context>
    <name>GTRStagingSlicer.result_content</name>
    <message>
        <source>Reading the CT …</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">正在读取 CT …</translation>
    </message>
    <message>
        <source>Running the network …</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">正在运行网络 …</translation>
    </message>
    <message>
        <source>Computing the attention …</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">正在计算注意力 …</translation>
    </message>
    <message>
        <source>Showing the result …</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">正在显示结果 …</translation>
    </message>
    <message>
        <source>Stage a case first.</source>
        <translatorcomment>unreviewed</translatorcomment>
        <translation type="unfinished">请先对一个病例进行分期。</translation>
    </message>
</context>
</TS>
